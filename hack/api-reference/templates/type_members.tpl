{{- define "type_members" -}}
{{ if eq .Name "metadata" }}The object's metadata.{{ else }}{{ template "oneLine" .Doc }}{{ end }}
{{- end -}}

{{- define "oneLine" -}}
{{ markdownRenderFieldDoc . | replace "<br />" " " | trim }}
{{- end -}}

{{- define "rules" -}}
{{ range . }}{{ if eq . "Required: {}" }}Required. {{ else if ne . "Optional: {}" }}{{ markdownRenderFieldDoc . }}. {{ end }}{{ end }}
{{- end -}}
