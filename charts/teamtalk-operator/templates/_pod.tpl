{{/* The settings of a component's pods, as JSON. Takes a dict: root, component. The gateway has its own, or the operator's. */}}
{{- define "teamtalk-operator.podSettings" -}}
{{- $settings := dict -}}
{{- range list "podLabels" "podAnnotations" "podSecurityContext" "securityContext" "priorityClassName" "nodeSelector"
  "tolerations" "affinity" "topologySpreadConstraints" "hostAliases" "dnsPolicy" "dnsConfig" "runtimeClassName"
  "revisionHistoryLimit" "startupProbe" -}}
{{- $value := index $.root.Values . -}}
{{- $own := index $.root.Values.gateway . -}}
{{- if and (eq $.component "gateway") (not (kindIs "invalid" $own)) -}}
{{- $value = $own -}}
{{- end -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $settings . $value -}}
{{- end -}}
{{- end -}}
{{- toJson $settings -}}
{{- end -}}

{{/*
The part of a pod template that the operator and the gateway share, up to the containers.
Takes a dict: root, component, account, settings, initContainers.
*/}}
{{- define "teamtalk-operator.pod" -}}
{{- $values := .root.Values -}}
{{- $settings := .settings -}}
{{- $selector := merge (dict "app.kubernetes.io/component" .component) (include "teamtalk-operator.selectorLabels" .root | fromYaml) -}}
{{- $pods := dict "matchLabels" $selector -}}
{{- $hosts := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" -}}
metadata:
  labels:
    {{- /* The selector's labels are last, so they take precedence. */}}
    {{- mergeOverwrite (dict) (default dict $values.commonLabels) (default dict $settings.podLabels) $selector | toYaml | nindent 4 }}
  annotations:
    {{- mergeOverwrite (dict "kubectl.kubernetes.io/default-container" .component) (default dict $settings.podAnnotations) | toYaml | nindent 4 }}
spec:
  serviceAccountName: {{ .account }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $settings.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- $constraints := list }}
    {{- range default (list $hosts) $settings.topologySpreadConstraints }}
    {{- $constraints = append $constraints (ternary . (set (deepCopy .) "labelSelector" $pods) (hasKey . "labelSelector")) }}
    {{- end }}
    {{- toYaml $constraints | nindent 2 }}
  {{- range $name := list "priorityClassName" "nodeSelector" "tolerations" "affinity" "hostAliases" "dnsPolicy" "dnsConfig" "runtimeClassName" }}
  {{- with index $settings $name }}
  {{- toYaml (dict $name .) | nindent 2 }}
  {{- end }}
  {{- end }}
  {{- with .initContainers }}
  initContainers:
    {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The probes and the security context of a container. Takes the component's settings. */}}
{{- define "teamtalk-operator.container" -}}
{{- with .startupProbe }}
startupProbe:
  {{- merge (dict) . (dict "httpGet" (dict "path" "/healthz" "port" "health")) | toYaml | nindent 2 }}
{{- end }}
livenessProbe:
  httpGet:
    path: /healthz
    port: health
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 5
  timeoutSeconds: 5
{{- with .securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The gateway's flags, in its own pods and in the operator's. Takes a dict: root, prefix of the flags. */}}
{{- define "teamtalk-operator.gatewayArgs" -}}
{{- $gateway := .root.Values.gateway -}}
{{- $prefix := .prefix -}}
- --{{ $prefix }}bind-address=:8400
{{- if $gateway.tlsSecret }}
- --{{ $prefix }}tls-cert-file=/etc/teamtalk-gateway/tls/tls.crt
- --{{ $prefix }}tls-key-file=/etc/teamtalk-gateway/tls/tls.key
{{- end }}
{{- if $gateway.appKeys }}
- --{{ $prefix }}app-keys-secret=teamtalk-app-keys
{{- end }}
{{- range $gateway.extraArgs }}
- {{ printf "--%s%s" $prefix (trimPrefix "--" .) | quote }}
{{- end }}
{{- end -}}

{{/* The flags for metrics, of the operator and of the gateway. */}}
{{- define "teamtalk-operator.metricsArgs" -}}
{{- if .Values.metrics.enabled -}}
- --metrics-bind-address=:8443
{{- if .Values.metrics.certSecret }}
- --metrics-cert-path=/etc/teamtalk-operator/metrics
{{- end }}
{{- else -}}
- --metrics-bind-address=0
{{- end }}
{{- end -}}

{{/* The certificates in a pod, as a list of name, path and secret. Takes a dict: root, gateway (whether the pod serves it). */}}
{{- define "teamtalk-operator.certificates" -}}
{{- if and .root.Values.metrics.enabled .root.Values.metrics.certSecret }}
- name: metrics-certificate
  path: /etc/teamtalk-operator/metrics
  secret: {{ .root.Values.metrics.certSecret }}
{{- end }}
{{- if and .gateway .root.Values.gateway.tlsSecret }}
- name: tls
  path: /etc/teamtalk-gateway/tls
  secret: {{ .root.Values.gateway.tlsSecret }}
{{- end }}
{{- end -}}

{{/* The mounts of a container. Takes a dict: certificates (such a list), extra (mounts). */}}
{{- define "teamtalk-operator.mounts" -}}
{{- if or .certificates .extra -}}
volumeMounts:
{{- range .certificates }}
- name: {{ .name }}
  mountPath: {{ .path }}
  readOnly: true
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The volumes of a pod. Takes a dict: certificates (such a list), extra (volumes). */}}
{{- define "teamtalk-operator.volumes" -}}
{{- if or .certificates .extra -}}
volumes:
{{- range .certificates }}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}
{{- end -}}
