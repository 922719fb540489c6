{{- define "gvList" -}}
# API reference

Every field of every kind, generated from the types by `make generate`. `kubectl explain` shows the same.
The page of each kind has examples, and says what follows from a field: see [the list](../index.md#reference).
{{ range . }}{{ template "gvDetails" . }}{{ end }}
{{- end -}}
