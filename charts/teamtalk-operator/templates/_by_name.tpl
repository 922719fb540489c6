{{/* The names of objects, by their namespaces, as JSON. Takes a list of namespace and name. */}}
{{- define "teamtalk-operator.byNamespace" -}}
{{- $byNamespace := dict -}}
{{- range . -}}
{{- $_ := set $byNamespace .namespace (append (default list (get $byNamespace .namespace)) .name | uniq | sortAlpha) -}}
{{- end -}}
{{- toJson $byNamespace -}}
{{- end -}}

{{/* A Role, and its binding. Takes a dict: root, name, namespace, rules (YAML), account (empty: the operator's). */}}
{{- define "teamtalk-operator.grant" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "teamtalk-operator.labels" .root | nindent 4 }}
    {{- if .account }}
    app.kubernetes.io/component: gateway
    {{- end }}
rules:
{{ .rules | trim }}
---
{{ include "teamtalk-operator.binding" (dict "root" .root "kind" "RoleBinding" "name" .name "namespace" .namespace "roleKind" "Role" "role" .name "account" .account) }}
{{- end -}}

{{/* The right to read single objects. Takes a dict: root, resource, names (a list of namespace and name), name, account (empty: the operator's). */}}
{{- define "teamtalk-operator.byName" -}}
{{- range $namespace, $names := include "teamtalk-operator.byNamespace" .names | fromJson }}
{{- $rules := list (dict "apiGroups" (list "") "resources" (list $.resource) "resourceNames" $names "verbs" (list "get" "list" "watch")) }}
{{- include "teamtalk-operator.grant" (dict "root" $.root "name" $.name "namespace" $namespace "rules" (toYaml $rules) "account" $.account) }}
{{- end }}
{{- end -}}

{{/*
What serving single receivers takes, for each namespace of them. Messages have no names
before they are made, nor have digests, which flood control keeps in ConfigMaps: without
it no ConfigMap is needed. Takes a dict: root, name, account.
*/}}
{{- define "teamtalk-operator.receiversByName" -}}
{{- $receivers := .root.Values.gateway.receivers }}
{{- range $namespace, $names := include "teamtalk-operator.byNamespace" $receivers | fromJson }}
{{- $secrets := list }}
{{- $flood := false }}
{{- range $receivers }}
{{- if eq .namespace $namespace }}
{{- if .secret }}
{{- $secrets = append $secrets .secret }}
{{- end }}
{{- $flood = or $flood .floodControl }}
{{- end }}
{{- end }}
{{- $rules := list
  (dict "apiGroups" (list "teamtalk.io") "resources" (list "teamtalkreceivers") "resourceNames" $names "verbs" (list "get"))
  (dict "apiGroups" (list "teamtalk.io") "resources" (list "teamtalkreceivers/status") "resourceNames" $names "verbs" (list "patch"))
  (dict "apiGroups" (list "teamtalk.io") "resources" (list "teamtalkmessages") "verbs" (list "create" "get" "list" "watch")) }}
{{- if $secrets }}
{{- $rules = append $rules (dict "apiGroups" (list "") "resources" (list "secrets") "resourceNames" ($secrets | uniq | sortAlpha) "verbs" (list "get")) }}
{{- end }}
{{- if $flood }}
{{- $rules = append $rules (dict "apiGroups" (list "") "resources" (list "configmaps") "verbs" (list "create" "get" "patch" "update")) }}
{{- end }}
{{- include "teamtalk-operator.grant" (dict "root" $.root "name" $.name "namespace" $namespace "rules" (toYaml $rules) "account" $.account) }}
{{- end }}
{{- end -}}
