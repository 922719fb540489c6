// SPDX-License-Identifier: Apache-2.0

package template

// defaultAlerts is the built-in template of a notification. What is wrong comes first, because a phone shows a line or
// two. Of an alert it shows what the others do not share.
const defaultAlerts = `
{{- define "alert"}}
• {{or .Alert.Annotations.summary .Alert.Annotations.message .Alert.Annotations.description .Alert.Labels.alertname "alert" | trim | abbrev 300}}
{{- with .Alert.Labels.severity}}{{if ne . ($.Common.severity | default "")}} [{{.}}]{{end}}{{end}}
{{- $first := true}}
{{- range .Alert.Labels.SortedPairs}}
{{- if and (ne .Name "severity") (ne .Name "alertname") (not (hasLabel $.Common .Name))}}
{{- if $first}} ({{else}}, {{end}}{{.Name}}={{abbrev 60 .Value}}{{$first = false}}
{{- end}}
{{- end}}
{{- if not $first}}){{end}}
{{- end}}
{{- $firing := .Alerts.Firing}}{{$resolved := .Alerts.Resolved}}
{{- if $firing}}🔥 FIRING{{if gt (len $firing) 1}} {{len $firing}}{{end}}
{{- else}}✅ RESOLVED{{if gt (len $resolved) 1}} {{len $resolved}}{{end}}{{end}}
{{- with .CommonLabels.severity}} · {{.}}{{end}}
{{- with .CommonLabels.alertname}} · {{.}}{{end}}
{{- $common := .CommonLabels}}
{{- range $firing}}{{template "alert" (entry . $common)}}{{end}}
{{- if and $firing $resolved}}
✅ RESOLVED{{if gt (len $resolved) 1}} {{len $resolved}}{{end}}{{end}}
{{- range $resolved}}{{template "alert" (entry . $common)}}{{end}}
{{- with .CommonAnnotations.runbook_url}}
Runbook: {{.}}{{end}}
{{- with .ExternalURL}}
{{.}}/#/alerts?receiver={{urlquery $.Receiver}}{{end}}`

// defaultGeneric is the built-in template of any JSON: the fields in which such bodies usually tell what happened, or
// else all of it.
const defaultGeneric = `
{{- $object := get "involvedObject" .}}
{{- $said := or (get "message" .) (get "text" .) (get "summary" .) (get "title" .) (get "description" .)}}
{{- if $said}}
{{- with get "severity" .}}[{{.}}] {{end}}
{{- with $object}}{{get "kind" .}}/{{get "name" .}}{{with get "namespace" .}} in {{.}}{{end}}: {{end}}
{{- with get "reason" .}}{{.}}: {{end}}{{$said}}
{{- else}}{{toJson .}}{{end}}`

// entry is what the template of one alert is given.
type entry struct {
	Alert  Alert
	Common KV
}
