{{- define "teamtalk-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The namespace of all objects that have one, except those for other namespaces. */}}
{{- define "teamtalk-operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* The name of all objects, or their prefix. It leaves room for suffixes. */}}
{{- define "teamtalk-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The gateway's name: teamtalk-gateway beside teamtalk-operator. */}}
{{- define "teamtalk-operator.gatewayName" -}}
{{- $fullname := include "teamtalk-operator.fullname" . -}}
{{- if hasSuffix "operator" $fullname -}}
{{- printf "%sgateway" (trimSuffix "operator" $fullname) -}}
{{- else -}}
{{- printf "%s-gateway" $fullname -}}
{{- end -}}
{{- end -}}

{{- define "teamtalk-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "teamtalk-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Labels of objects, but not of pods: pods must not be replaced because a label of the chart changes. */}}
{{- define "teamtalk-operator.labels" -}}
{{ include "teamtalk-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "teamtalk-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "teamtalk-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "teamtalk-operator.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.global.imageRegistry -}}
{{- $path := splitList "/" $repository -}}
{{- if and (rest $path) (or (regexMatch "[.:]" (first $path)) (eq (first $path) "localhost")) -}}
{{- $path = rest $path -}}
{{- end -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (join "/" $path) -}}
{{- end -}}
{{- $image := printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $image .Values.image.digest -}}
{{- else -}}
{{- $image -}}
{{- end -}}
{{- end -}}

{{/* A binding. Takes a dict: root, kind, name, namespace (empty: everywhere), roleKind, role, account (empty: the operator's). */}}
{{- define "teamtalk-operator.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "teamtalk-operator.labels" .root | nindent 4 }}
    {{- if .account }}
    app.kubernetes.io/component: gateway
    {{- end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .roleKind }}
  name: {{ .role }}
subjects:
- kind: ServiceAccount
  name: {{ default (include "teamtalk-operator.serviceAccountName" .root) .account }}
  namespace: {{ include "teamtalk-operator.namespace" .root }}
{{- end -}}
