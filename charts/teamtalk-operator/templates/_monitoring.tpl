{{/*
A ServiceMonitor or PodMonitor. Takes a dict: root, kind, monitor (its values), name, component, and service, whose
name the certificate has, if there is one that can be verified.
*/}}
{{- define "teamtalk-operator.monitor" -}}
{{- $forPods := eq .kind "PodMonitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  namespace: {{ include "teamtalk-operator.namespace" .root }}
  labels:
    {{- $own := merge (dict "app.kubernetes.io/component" .component) (include "teamtalk-operator.labels" .root | fromYaml) }}
    {{- mergeOverwrite (dict) (default dict .monitor.labels) $own | toYaml | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "teamtalk-operator.selectorLabels" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  {{ ternary "podMetricsEndpoints" "endpoints" $forPods }}:
  - port: metrics
    scheme: https
    interval: {{ .monitor.interval }}
    {{- if $forPods }}
    authorization:
      credentials:
        {{- toYaml .monitor.tokenSecret | nindent 8 }}
    {{- else }}
    bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
    {{- end }}
    tlsConfig:
      {{- with .root.Values.metrics.certSecret }}
      serverName: {{ $.service }}.{{ include "teamtalk-operator.namespace" $.root }}.svc
      ca:
        secret:
          name: {{ . }}
          key: ca.crt
      {{- else }}
      insecureSkipVerify: true
      {{- end }}
    {{- with .monitor.relabelings }}
    relabelings:
      {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .monitor.metricRelabelings }}
    metricRelabelings:
      {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* The alerts that metrics.prometheusRule has not disabled, with its changes. Takes a dict: rules, settings. */}}
{{- define "teamtalk-operator.alerts" -}}
{{- /* Alerts with a threshold: the first number that the expression compares with. */}}
{{- $withThreshold := list "TeamTalkMessagesFailing" "TeamTalkOutcomeUnknown" "TeamTalkSilentDrops" "TeamTalkInDoubt"
  "TeamTalkNotRouted" "TeamTalkDeliverySlow" "TeamTalkScheduledTimesMissed" "TeamTalkScheduledTimesFailing"
  "TeamTalkUnread" "TeamTalkEscalationFailed"
  "TeamTalkReconcileErrors" "TeamTalkReceiverRefusing" "TeamTalkReceiverTemplateFaults"
  "TeamTalkReceiverExpressionFaults" "TeamTalkGatewayErrors" }}
{{- $kept := list }}
{{- range $rule := .rules }}
{{- $change := default dict (get $.settings.alerts $rule.alert) }}
{{- if hasKey $change "threshold" }}
{{- if not (has $rule.alert $withThreshold) }}
{{- fail (printf "metrics.prometheusRule.alerts: %s has no threshold" $rule.alert) }}
{{- end }}
{{- $comparison := regexFind "> [0-9.]+" $rule.expr }}
{{- $_ := set $rule "expr" (replace $comparison (printf "> %v" $change.threshold) $rule.expr) }}
{{- end }}
{{- with $change.for }}
{{- $_ := set $rule "for" . }}
{{- end }}
{{- with $change.severity }}
{{- $_ := set $rule.labels "severity" . }}
{{- end }}
{{- with $change.labels }}
{{- $_ := set $rule "labels" (merge (dict) . $rule.labels) }}
{{- end }}
{{- with $.settings.runbookURL }}
{{- $_ := set $rule.annotations "runbook_url" (printf "%s#%s" . (splitList "#" $rule.annotations.runbook_url | last)) }}
{{- end }}
{{- if ne (get $change "enabled" | toString) "false" }}
{{- $kept = append $kept $rule }}
{{- end }}
{{- end }}
{{- toYaml $kept }}
{{- end -}}
