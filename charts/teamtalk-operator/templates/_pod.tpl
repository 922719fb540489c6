{{/*
What the pods of the operator and of the gateway share, up to their containers.
Takes a dict: root, component, account.
*/}}
{{- define "teamtalk-operator.pod" -}}
{{- $values := .root.Values -}}
{{- $selector := merge (dict "app.kubernetes.io/component" .component) (include "teamtalk-operator.selectorLabels" .root | fromYaml) -}}
{{- $pods := dict "matchLabels" $selector -}}
{{- $hosts := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" -}}
metadata:
  labels:
    {{- /* The selector's last: they win. */}}
    {{- mergeOverwrite (dict) (default dict $values.podLabels) $selector | toYaml | nindent 4 }}
  annotations:
    {{- mergeOverwrite (dict "kubectl.kubernetes.io/default-container" .component) (default dict $values.podAnnotations) | toYaml | nindent 4 }}
spec:
  serviceAccountName: {{ .account }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  topologySpreadConstraints:
    {{- $constraints := list }}
    {{- range default (list $hosts) $values.topologySpreadConstraints }}
    {{- $constraints = append $constraints (ternary . (set (deepCopy .) "labelSelector" $pods) (hasKey . "labelSelector")) }}
    {{- end }}
    {{- toYaml $constraints | nindent 2 }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* How kubelet sees that a container lives and is ready, and what it may not do. */}}
{{- define "teamtalk-operator.container" -}}
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
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* What the gateway is told wherever it runs. Takes a dict: root, prefix of the flags. */}}
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

{{/* Where metrics are served, by the operator as by the gateway. */}}
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

{{/* Takes such a list. */}}
{{- define "teamtalk-operator.certificateMounts" -}}
volumeMounts:
{{- range . }}
- name: {{ .name }}
  mountPath: {{ .path }}
  readOnly: true
{{- end }}
{{- end -}}

{{/* Takes such a list. */}}
{{- define "teamtalk-operator.certificateVolumes" -}}
volumes:
{{- range . }}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
{{- end }}
{{- end -}}
