{{- define "type" -}}
{{- if markdownShouldRenderType . }}
## {{ .Name }}

{{ with .Doc }}{{ . }}

{{ end -}}
{{ if .IsAlias }}Type: {{ markdownRenderTypeLink .UnderlyingType }}. {{ template "rules" .Validation }}

{{ else if .Validation }}{{ template "rules" .Validation }}

{{ end -}}
{{ $before := "Used by " -}}
{{ range .SortedReferences }}{{ if markdownShouldRenderType . }}{{ $before }}{{ markdownRenderTypeLink . }}{{ $before = ", " }}{{ end }}{{ end -}}
{{ if eq $before ", " }}.
{{ end -}}
{{ if .Members }}
| field | type | meaning | default | validation |
| --- | --- | --- | --- | --- |
{{ range .Members -}}
| `{{ .Name }}` | {{ markdownRenderType .Type }} | {{ template "type_members" . }} | {{ markdownRenderDefault .Default }} | {{ template "rules" .Validation }} |
{{ end -}}
{{ end -}}
{{ if .EnumValues }}
| value | meaning |
| --- | --- |
{{ range .EnumValues -}}
| `{{ .Name }}` | {{ template "oneLine" .Doc }} |
{{ end -}}
{{ end -}}
{{ end -}}
{{- end -}}
