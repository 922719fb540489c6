// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// webhook is a notification as Alertmanager 0.25 posts it.
const webhook = `{"receiver":"team","status":"firing","alerts":[
 {"status":"firing","labels":{"alertname":"HighLatency","instance":"a","severity":"critical"},"annotations":{"summary":"p99 above 1 s"},
  "startsAt":"2026-11-23T12:00:00.000Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prom/graph","fingerprint":"aa"},
 {"status":"resolved","labels":{"alertname":"HighLatency","instance":"b","severity":"critical"},"annotations":{"summary":"p99 above 2 s"},
  "startsAt":"2026-11-23T12:00:00.000Z","endsAt":"2026-11-23T12:10:00Z","generatorURL":"http://prom/graph","fingerprint":"bb"}],
 "groupLabels":{"alertname":"HighLatency"},"commonLabels":{"alertname":"HighLatency","severity":"critical"},
 "commonAnnotations":{},"externalURL":"http://am:9093","version":"4","groupKey":"{}:{alertname=\"HighLatency\"}","truncatedAlerts":0,"anew":{"field":1}}`

func alertmanager(template string) *v1alpha1.TeamTalkReceiver {
	r := &v1alpha1.TeamTalkReceiver{}
	r.Namespace, r.Name = "chat", "alerts"
	r.Spec.Type = v1alpha1.ReceiverAlertmanager
	r.Spec.To.Users = []v1alpha1.UserID{2}
	r.Spec.Template = template
	return r
}

func decoded(t *testing.T, body string) *Notification {
	t.Helper()
	n, err := decodeAlertmanager([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func rendered(t *testing.T, r *v1alpha1.TeamTalkReceiver, p part) (string, error) {
	t.Helper()
	templates, _ := ParseTemplates(r)
	return templates.text(t.Context(), r, p)
}

func many(count int) *Notification {
	n := &Notification{Status: statusFiring, CommonLabels: KV{"alertname": "Down"}, ExternalURL: "http://am"}
	for i := range count {
		n.Alerts = append(n.Alerts, Alert{
			Status: statusFiring, Labels: KV{"alertname": "Down", "instance": fmt.Sprint("node-", i)},
			Annotations: KV{"summary": "the node is down"}, Fingerprint: fmt.Sprint(i),
		})
	}
	return n
}

func TestDefaultTexts(t *testing.T) {
	resolved := decoded(t, webhook)
	resolved.Status, resolved.Alerts = statusResolved, resolved.Alerts.Resolved()
	tests := map[string]struct {
		kind v1alpha1.ReceiverType
		part part
		want string
	}{
		"firing and resolved": {
			v1alpha1.ReceiverAlertmanager, part{alerts: decoded(t, webhook)},
			"🔥 FIRING · critical · HighLatency\n• p99 above 1 s (instance=a)\n✅ RESOLVED\n• p99 above 2 s (instance=b)\nhttp://am:9093/#/alerts?receiver=team",
		},
		"resolved": {
			v1alpha1.ReceiverAlertmanager, part{alerts: resolved},
			"✅ RESOLVED · critical · HighLatency\n• p99 above 2 s (instance=b)\nhttp://am:9093/#/alerts?receiver=team",
		},
		"an alert with nothing": {
			v1alpha1.ReceiverAlertmanager, part{alerts: &Notification{Status: statusFiring, Alerts: Alerts{{Status: statusFiring}}}},
			"🔥 FIRING\n• alert",
		},
		"an event of Flux": {
			v1alpha1.ReceiverGeneric, part{body: map[string]any{
				"involvedObject": map[string]any{"kind": "Kustomization", "name": "webapp", "namespace": "apps"},
				"severity":       "error", "reason": "ValidationFailed", "message": "unsupported value",
			}},
			"[error] Kustomization/webapp in apps: ValidationFailed: unsupported value",
		},
		"any object": {v1alpha1.ReceiverGeneric, part{body: map[string]any{"a": 1.0}}, `{"a":1}`},
		"any JSON":   {v1alpha1.ReceiverGeneric, part{body: []any{"x"}}, `["x"]`},
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
	if _, fault := rendered(t, r, part{alerts: decoded(t, webhook)}); fault == nil {
		t.Error("a field that does not exist is no fault")
	}
	r.Spec.Template = `{{.Status | toUpper}} {{len .Alerts.Firing}}/{{len .Alerts}}{{range .Alerts}} {{.Labels.instance}}{{(index .Labels.SortedPairs 0).Value}} {{date "15:04" .StartsAt}}{{end}} {{.CommonLabels.nothing}}`
	r.Spec.ResolvedTemplate = "over: {{.GroupLabels.alertname}}"
	got, fault := rendered(t, r, part{alerts: decoded(t, webhook)})
	if want := "FIRING 1/2 aHighLatency 12:00 bHighLatency 12:00"; fault != nil || got != want {
		t.Errorf("%q, %v; want %q", got, fault, want)
	}
	over := decoded(t, webhook)
	over.Status = statusResolved
	if got, fault := rendered(t, r, part{alerts: over}); fault != nil || got != "over: HighLatency" {
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
		"too many arguments":      `{{print` + strings.Repeat(" .", 100) + `}}`,
		"the time":                `{{now}}`,
		"a file":                  `{{template "/etc/passwd"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, fault := rendered(t, alertmanager(template), part{alerts: decoded(t, webhook)})
			if fault == nil || !strings.HasPrefix(got, "🔥 FIRING") {
				t.Errorf("fault %v, text %q", fault, got)
			}
		})
	}
}

func TestTooLongIsCutBetweenAlerts(t *testing.T) {
	for _, count := range []int{1, 50, 60, 70, 1000, 20_000} {
		got, fault := rendered(t, alertmanager(""), part{alerts: many(count)})
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
		got, fault := rendered(t, r, part{alerts: n})
		if fault != nil || len(got) > cipher.MaxTextWithToken || len(got) < cipher.MaxTextWithToken-8 || !strings.HasSuffix(got, "…\n+2 more") {
			t.Errorf("%d bytes, %v: %s", len(got), fault, got[max(0, len(got)-40):])
		}
	}
	n := many(2)
	n.TruncatedAlerts = 5
	if got, _ := rendered(t, alertmanager(""), part{alerts: n}); !strings.HasSuffix(got, "\n+5 more") {
		t.Errorf("what Alertmanager left out is not counted:\n%s", got)
	}
}

func TestTextIsWhatTeamTalkHolds(t *testing.T) {
	r := alertmanager("")
	r.Spec.Type = v1alpha1.ReceiverGeneric
	got, fault := rendered(t, r, part{body: map[string]any{"message": "a\x00b" + strings.Repeat("界", 2000)}})
	if fault != nil || !strings.HasPrefix(got, "ab界") || len(got) > cipher.MaxTextWithToken || !strings.HasSuffix(got, "界…") {
		t.Errorf("%v, %d bytes: %.20q", fault, len(got), got)
	}
}

// TestFaultsQuoteNoData: what is wrong with a template goes to logs and statuses, where
// the data must not be.
func TestFaultsQuoteNoData(t *testing.T) {
	const secret = "the vault is open"
	data := map[string]any{"secret": secret, "url": "http://[" + secret, "expression": "(" + secret, "list": []any{secret}}
	for _, text := range []string{
		`{{fail .secret}}`, `{{range .secret}}{{end}}`, `{{urlParse .url}}`, `{{regexFind .expression "x"}}`, `{{regexReplaceAll .expression "x" "y"}}`,
		`{{date "15:04" .secret}}`, `{{.secret.more}}`, `{{index .list .secret}}`, `{{index .secret .secret}}`, `{{len 3 .secret}}`, `{{slice .secret 3 2}}`,
		`{{join "," .secret}}`, `{{first .secret}}`, `{{eq .secret .list}}`, `{{lt .secret 3}}`, `{{printf "%*d" .secret}}`, `{{template .secret}}`,
		`{{trunc .secret "x"}}`, `{{substr 5 1 .secret}}`, `{{.secret 1}}`, `{{since .secret}}`, `{{hasKey .secret "x"}}`, `{{get .list .}}`,
	} {
		parsed, err := ParseTemplate("template", text)
		if err == nil {
			_, err = parsed.Execute(t.Context(), data, execution{purse: newPurse(), limit: 1 << 20})
		}
		if err == nil {
			t.Errorf("%s is no fault", text)
		} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
