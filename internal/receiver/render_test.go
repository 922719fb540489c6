// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// webhook is a notification as Alertmanager 0.25 posts it.
//
//go:embed testdata/webhook.json
var webhook string

func alertmanager(template string) *v1alpha1.TeamTalkReceiver {
	r := &v1alpha1.TeamTalkReceiver{}
	r.Namespace, r.Name = "chat", "alerts"
	r.Spec.Type = v1alpha1.ReceiverAlertmanager
	r.Spec.To.Users = []v1alpha1.UserID{2}
	r.Spec.Template = template
	return r
}

func decoded(t *testing.T, body string) *template.Notification {
	t.Helper()
	result, err := notification.Decode(t.Context(), alertmanager(""), []byte(body), "application/json")
	must(t, err)
	return result.Messages[0].Alerts
}

func rendered(t *testing.T, r *v1alpha1.TeamTalkReceiver, p notification.Message) (string, error) {
	t.Helper()
	templates, _ := template.ParseSet(&r.Spec)
	return render(t.Context(), templates, r, p)
}

func many(count int) *template.Notification {
	n := &template.Notification{Status: template.StatusFiring, CommonLabels: template.KV{"alertname": "Down"}, ExternalURL: "http://am"}
	for i := range count {
		n.Alerts = append(n.Alerts, template.Alert{
			Status: template.StatusFiring, Labels: template.KV{"alertname": "Down", "instance": fmt.Sprint("node-", i)},
			Annotations: template.KV{"summary": "the node is down"}, Fingerprint: fmt.Sprint(i),
		})
	}
	return n
}

func TestDefaultTexts(t *testing.T) {
	resolved := decoded(t, webhook)
	resolved.Status, resolved.Alerts = template.StatusResolved, resolved.Alerts.Resolved()
	tests := map[string]struct {
		kind v1alpha1.ReceiverType
		part notification.Message
		want string
	}{
		"firing and resolved": {
			v1alpha1.ReceiverAlertmanager, notification.Message{Alerts: decoded(t, webhook)},
			"🔥 FIRING · critical · HighLatency\n• p99 above 1 s (instance=a), since 2026-11-23 12:00 UTC\n" +
				"✅ RESOLVED\n• p99 above 2 s (instance=b), 2026-11-23 12:00 UTC – 2026-11-23 12:10 UTC\n" +
				"http://am:9093/#/alerts?receiver=team",
		},
		"resolved": {
			v1alpha1.ReceiverAlertmanager, notification.Message{Alerts: resolved},
			"✅ RESOLVED · critical · HighLatency\n• p99 above 2 s (instance=b), 2026-11-23 12:00 UTC – 2026-11-23 12:10 UTC\n" +
				"http://am:9093/#/alerts?receiver=team",
		},
		"an alert with nothing": {
			v1alpha1.ReceiverAlertmanager, notification.Message{Alerts: &template.Notification{Status: template.StatusFiring, Alerts: template.Alerts{{Status: template.StatusFiring}}}},
			"🔥 FIRING\n• alert",
		},
		"an event of Flux": {
			v1alpha1.ReceiverGeneric, notification.Message{Body: map[string]any{
				"involvedObject": map[string]any{"kind": "Kustomization", "name": "webapp", "namespace": "apps"},
				"severity":       "error", "reason": "ValidationFailed", "message": "unsupported value",
			}},
			"[error] Kustomization/webapp in apps: ValidationFailed: unsupported value",
		},
		"any object": {v1alpha1.ReceiverGeneric, notification.Message{Body: map[string]any{"a": 1.0}}, `{"a":1}`},
		"any JSON":   {v1alpha1.ReceiverGeneric, notification.Message{Body: []any{"x"}}, `["x"]`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := alertmanager("")
			r.Spec.Type = tc.kind
			got, fault := rendered(t, r, tc.part)
			if fault != nil || got != tc.want {
				t.Errorf("%v\n%s\nwant\n%s", fault, got, tc.want)
			}
		})
	}
}

func TestDeclaredTemplates(t *testing.T) {
	r := alertmanager(`{{.Status | toUpper}} {{len .Alerts.Firing}}/{{len .Alerts}} {{range .Alerts}}{{.Labels.instance}}{{range .Labels.SortedPairs}} {{.Name}}={{.Value}}{{end}}; {{end}}{{.StartsAt}}`)
	if _, fault := rendered(t, r, notification.Message{Alerts: decoded(t, webhook)}); fault == nil {
		t.Error("a field that does not exist is no fault")
	}
	r.Spec.Template = `{{.Status | toUpper}} {{len .Alerts.Firing}}/{{len .Alerts}}{{range .Alerts}} {{.Labels.instance}}{{(index .Labels.SortedPairs 0).Value}} {{date "15:04" .StartsAt}}{{end}} {{.CommonLabels.nothing}}`
	r.Spec.ResolvedTemplate = "over: {{.GroupLabels.alertname}}"
	got, fault := rendered(t, r, notification.Message{Alerts: decoded(t, webhook)})
	if want := "FIRING 1/2 aHighLatency 12:00 bHighLatency 12:00"; fault != nil || got != want {
		t.Errorf("%q, %v; want %q", got, fault, want)
	}
	over := decoded(t, webhook)
	over.Status = template.StatusResolved
	if got, fault := rendered(t, r, notification.Message{Alerts: over}); fault != nil || got != "over: HighLatency" {
		t.Errorf("%q, %v", got, fault)
	}
}

func TestTemplateFaultFallsBack(t *testing.T) {
	for name, template := range map[string]string{
		"does not parse":         `{{.Status`,
		"an unknown function":    `{{env "HOME"}}`,
		"an unknown field":       `{{.Nope}}`,
		"no text":                `  {{if false}}x{{end}} `,
		"it says so":             `{{fail "no"}}`,
		"a panic":                `{{div 1 0}}`,
		"an endless loop":        `{{range 9000000000000}}{{end}}`,
		"a loop within loops":    `{{range 10000}}{{range 10000}}{{range 10000}}{{if true}}{{end}}{{end}}{{end}}{{end}}`,
		"recursion":              `{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`,
		"recursion that doubles": `{{define "a"}}{{template "b"}}{{end}}{{define "b"}}{{template "a"}}{{template "a"}}{{end}}{{template "a"}}`,
		"a text that doubles":    `{{$x := "xxxxxxxx"}}{{range 60}}{{$x = print $x $x}}{{end}}{{len $x}}`,
		"a wide number":          `{{printf "%999999999d" 1}}`,
		"a wide number, aside":   `{{printf "%*d" 1000000 1}}`,
		"an index":               `{{printf "%[1]s%[1]s" "x"}}`,
		"a replacement that multiplies": `{{$x := "xxxxxxxx"}}{{range 16}}{{$x = print $x $x}}{{end}}` +
			`{{len (replace "x" $x $x)}}`,
		"a join that multiplies":  `{{$x := "xxxxxxxx"}}{{range 16}}{{$x = print $x $x}}{{end}}{{len (join $x (splitList "" $x))}}`,
		"a regex that multiplies": `{{$x := "xxxxxxxx"}}{{range 16}}{{$x = print $x $x}}{{end}}{{len (regexReplaceAll "" $x $x)}}`,
		"too many arguments":      `{{$x := "xxxxxxxx"}}{{range 16}}{{$x = print $x $x}}{{end}}{{print` + strings.Repeat(" $x", 100) + `}}`,
		"a file":                  `{{template "/etc/passwd"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, fault := rendered(t, alertmanager(template), notification.Message{Alerts: decoded(t, webhook)})
			if fault == nil || !strings.HasPrefix(got, "🔥 FIRING") {
				t.Errorf("fault %v, text %q", fault, got)
			}
		})
	}
}

func TestTooLongIsCutBetweenAlerts(t *testing.T) {
	for _, count := range []int{1, 50, 60, 70, 1000, 20_000} {
		got, fault := rendered(t, alertmanager(""), notification.Message{Alerts: many(count)})
		if fault != nil || len(got) > cipher.MaxTextWithToken {
			t.Fatalf("%d alerts: %d bytes, %v", count, len(got), fault)
		}
		shown := strings.Count(got, "• the node is down (instance=node-")
		if shown == count {
			if strings.Contains(got, "more") {
				t.Errorf("%d alerts: all are shown, and more are promised:\n%s", count, got)
			}
			continue
		}
		if want := fmt.Sprintf("\n+%d more", count-shown); shown == 0 || !strings.HasSuffix(got, want) {
			t.Errorf("%d alerts: %d are shown, and the end is not %q:\n%s", count, shown, want, got)
		}
	}
	for _, r := range []*v1alpha1.TeamTalkReceiver{alertmanager(`{{range .Alerts}}{{.Annotations.summary}}{{end}}`), alertmanager("")} {
		n := many(3)
		for i := range n.Alerts {
			n.Alerts[i].Annotations["summary"] = strings.Repeat("é", 4000)
			n.Alerts[i].Labels["instance"] = strings.Repeat("é", 4000)
			for j := range 40 {
				n.Alerts[i].Labels[fmt.Sprint("label", j)] = strings.Repeat("é", 100)
			}
		}
		got, fault := rendered(t, r, notification.Message{Alerts: n})
		if fault != nil || len(got) > cipher.MaxTextWithToken || len(got) < cipher.MaxTextWithToken-8 || !strings.HasSuffix(got, "…\n+2 more") {
			t.Errorf("%d bytes, %v: %s", len(got), fault, got[max(0, len(got)-40):])
		}
	}
	n := many(2)
	n.TruncatedAlerts = 5
	if got, _ := rendered(t, alertmanager(""), notification.Message{Alerts: n}); !strings.HasSuffix(got, "\n+5 more") {
		t.Errorf("what Alertmanager left out is not counted:\n%s", got)
	}
}

func TestTextIsWhatTeamTalkHolds(t *testing.T) {
	r := alertmanager("")
	r.Spec.Type = v1alpha1.ReceiverGeneric
	got, fault := rendered(t, r, notification.Message{Body: map[string]any{"message": "a\x00b" + strings.Repeat("界", 2000)}})
	if fault != nil || !strings.HasPrefix(got, "ab界") || len(got) > cipher.MaxTextWithToken || !strings.HasSuffix(got, "界…") {
		t.Errorf("%v, %d bytes: %.20q", fault, len(got), got)
	}
}

func generic(template string) *v1alpha1.TeamTalkReceiver {
	r := alertmanager(template)
	r.Spec.Type = v1alpha1.ReceiverGeneric
	return r
}

// posted is the text that a receiver makes of a body.
func posted(t *testing.T, r *v1alpha1.TeamTalkReceiver, body string) (string, error) {
	t.Helper()
	previews, _, err := PreviewOf(t.Context(), r, []byte(body))
	must(t, err)
	if len(previews) != 1 {
		t.Fatalf("%d messages", len(previews))
	}
	return previews[0].Text, previews[0].Fault
}

// TestNumbers: numbers are shown as they were posted, through all functions.
func TestNumbers(t *testing.T) {
	const body = `{"n":1234567,"long":12345678901234567,"id":18446744073709551615,"most":123456789012345678901234567890,
		"f":1234567.5,"whole":5.0,"small":-0.25,"zero":0,"minus":-3,"list":[1,2.5],"string":"5"}`
	for template, want := range map[string]string{
		`{{.n}} {{.long}} {{.id}} {{.most}} {{.f}} {{.small}} {{.minus}} {{.list}}`:                                                     "1234567 12345678901234567 18446744073709551615 123456789012345678901234567890 1234567.5 -0.25 -3 [1 2.5]",
		`{{printf "%d %d %d %5d" .n .whole .id .minus}}`:                                                                                "1234567 5 18446744073709551615    -3",
		`{{printf "%.1f %.2f %g %s %v %q" .f .n .n .n .f .n}}`:                                                                          `1234567.5 1234567.00 1.234567e+06 1234567 1234567.5 "1234567"`,
		`{{if gt .n 5}}more{{end}} {{if lt .f 5}}less{{end}} {{if ge .whole 5.0}}same{{end}}`:                                           "more  same",
		`{{eq .whole 5}} {{eq .n 1 1234567}} {{ne .minus -3}} {{le .small .minus}} {{lt .minus .id}} {{eq .id .n}} {{gt .most .id}}`:    "true true false false true false true",
		`{{if .zero}}some{{else}}none{{end}} {{range .minus}}x{{end}}{{range 2}}y{{end}}`:                                               "none yy",
		`{{add .n 1}} {{mul .n 2}} {{div .n 2}} {{max .n .minus}} {{round .small 1}} {{int .f}}`:                                        "1234568 2469134 617283 1234567 -0.3 1234567",
		`{{index .list 1}} {{trunc .minus "abcdef"}} {{abbrev .whole "abcdef"}} {{plural "one" "many" .n}} {{kindOf .n}} {{kindOf .f}}`: "2.5 def abcd… many int64 float64",
		`{{toJson .}}`: `{"f":1234567.5,"id":18446744073709551615,"list":[1,2.5],"long":12345678901234567,"minus":-3,"most":123456789012345678901234567890,"n":1234567,"small":-0.25,"string":"5","whole":5,"zero":0}`,
		``:             `{"f":1234567.5,"id":18446744073709551615,"list":[1,2.5],"long":12345678901234567,"minus":-3,"most":123456789012345678901234567890,"n":1234567,"small":-0.25,"string":"5","whole":5,"zero":0}`,
	} {
		if got, fault := posted(t, generic(template), body); fault != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", template, got, fault, want)
		}
	}
	for _, template := range []string{`{{eq .n .string}}`, `{{lt .n .string}}`, `{{lt .list .list}}`, `{{trunc .small "abc"}}`, `{{index .list .small}}`} {
		if _, fault := posted(t, generic(template), body); fault == nil {
			t.Errorf("%s is no fault", template)
		}
	}
}

// TestJSONIsForPeople: what a browser would take for markup is shown as it is.
func TestJSONIsForPeople(t *testing.T) {
	const body = `{"a":"a<b & c > d é \" \n"}`
	for _, template := range []string{"", "{{toJson .}}", `{"a":{{toJson .a}}}`} {
		if got, fault := posted(t, generic(template), body); fault != nil || got != body {
			t.Errorf("%q: %s, %v", template, got, fault)
		}
	}
}

// TestLongTextsAreCut: however long a text is, its beginning is shown.
func TestLongTextsAreCut(t *testing.T) {
	for _, size := range []int{100 << 10, 1000 << 10} {
		for _, template := range []string{"", "{{.message}}", "{{.message | toUpper | toLower}}"} {
			got, fault := posted(t, generic(template), `{"message":"`+strings.Repeat("disk full ", size/10)+`"}`)
			if fault != nil || len(got) != cipher.MaxTextWithToken || !strings.HasPrefix(got, "disk full disk") || !strings.HasSuffix(got, "…") {
				t.Errorf("%q, %d bytes: %d bytes, %v: %.40s", template, size, len(got), fault, got)
			}
		}
	}
	for name, body := range map[string]string{
		"any JSON":     `[` + strings.Repeat(`"a value",`, 50_000) + `1]`,
		"numbers":      `[` + strings.Repeat(`1234567,`, 60_000) + `1]`,
		"one long one": `["` + strings.Repeat("é", 500_000) + `"]`,
	} {
		for _, template := range []string{"", "{{.}}", "{{range .}}{{.}} {{end}}"} {
			got, fault := posted(t, generic(template), body)
			if fault != nil || len(got) < cipher.MaxTextWithToken-8 || len(got) > cipher.MaxTextWithToken || !strings.HasSuffix(got, "…") {
				t.Errorf("%s, %q: %d bytes, %v: %.40s", name, template, len(got), fault, got)
			}
		}
	}
	n := many(2)
	n.Alerts[0].Annotations["summary"] = strings.Repeat("é", 100_000)
	r := alertmanager(`{{range .Alerts}}{{.Annotations.summary}}{{end}}`)
	if got, fault := rendered(t, r, notification.Message{Alerts: n}); fault != nil || len(got) < cipher.MaxTextWithToken-8 || !strings.HasSuffix(got, "é…\n+1 more") {
		t.Errorf("%d bytes, %v", len(got), fault)
	}
}

// TestEndOfRequestIsNoFault: a template is not blamed for a request that has no time left.
func TestEndOfRequestIsNoFault(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, text := range []string{"", `{{range 10}}x{{end}}`, `{{fail "no"}}`} {
		r := alertmanager(text)
		set, err := template.ParseSet(&r.Spec)
		must(t, err)
		if _, fault := render(over, set, r, notification.Message{Alerts: many(3)}); fault != nil {
			t.Errorf("%q: %v", text, fault)
		}
		if _, fault := set.Text(over, many(3)); fault != nil {
			t.Errorf("%q: %v", text, fault)
		}
	}
}

// TestTimesAreUTC: the text is the same wherever it is made.
func TestTimesAreUTC(t *testing.T) {
	t.Setenv("TZ", "Asia/Tokyo")
	n := decoded(t, strings.ReplaceAll(webhook, "12:00:00.000Z", "14:00:00+02:00"))
	r := alertmanager(`{{with (index .Alerts 0).StartsAt}}{{.}}, {{.Local}}, {{.UTC.Format "15:04 MST"}}, {{(.Local.Add 28800e9).Format "15:04 MST"}}, {{date "15:04" .}}, {{.Unix}}{{end}}
{{- range .Alerts}}, {{.EndsAt.Sub .StartsAt | printf "%.0f" }}{{end}}`)
	const noon = "2026-11-23 12:00:00 +0000 UTC"
	got, fault := rendered(t, r, notification.Message{Alerts: n})
	if want := fmt.Sprintf("%s, %s, 12:00 UTC, 20:00 UTC, 12:00, 1795435200", noon, noon); fault != nil || !strings.HasPrefix(got, want) {
		t.Errorf("%q, %v, want %q", got, fault, want)
	}
}

// TestTruncatedAlertsAreCountedOnce: one part of a split notification counts the truncated alerts.
func TestTruncatedAlertsAreCountedOnce(t *testing.T) {
	for truncated, want := range map[string]string{
		"5": "\n+5 more", "9223372036854775807": "\n+9223372036854775807 more", "18446744073709551615": "\n+18446744073709551615 more",
	} {
		r := alertmanager("")
		r.Spec.GroupBy = []string{"instance"}
		previews, _, err := PreviewOf(t.Context(), r, []byte(strings.Replace(webhook, `"truncatedAlerts":0`, `"truncatedAlerts":`+truncated, 1)))
		if err != nil || len(previews) != 2 {
			t.Fatalf("%d messages, %v", len(previews), err)
		}
		if !strings.HasSuffix(previews[0].Text, want) || strings.Contains(previews[1].Text, "more") {
			t.Errorf("%q\n%q\nwant %q once", previews[0].Text, previews[1].Text, want)
		}
	}
}
