// SPDX-License-Identifier: Apache-2.0

package template

import (
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// TestCheck: what is wrong with a template is known before the first notification, as far as it can be.
func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		spec v1alpha1.TeamTalkReceiverSpec
		want string // in the error; empty: there is none
	}{
		"built in":                {},
		"everything there is":     {v1alpha1.TeamTalkReceiverSpec{Template: `{{range .Alerts.Firing}}{{.Labels.x}}{{.EndsAt.Year}}{{end}}{{.RouteLabels.x}}{{.NotificationReason}}`}, ""},
		"fails for some data":     {v1alpha1.TeamTalkReceiverSpec{Template: `{{index .Alerts 7}}{{fail "x"}}`}, ""},
		"only templates":          {v1alpha1.TeamTalkReceiverSpec{Template: `{{define "b"}}x{{end}} {{- /* y */ -}} {{define "a"}}x{{end}}`}, `spec.template: it defines ["a" "b"] and produces no text: end it with {{ template "a" . }}`},
		"one of them is called":   {v1alpha1.TeamTalkReceiverSpec{Template: `{{define "a"}}x{{end}}{{template "a" .}}`}, ""},
		"one that is not there":   {v1alpha1.TeamTalkReceiverSpec{Template: `{{if .Alerts}}x{{else}}{{template "a" .}}{{end}}`}, `spec.template: template "a" is not defined`},
		"an unknown function":     {v1alpha1.TeamTalkReceiverSpec{Template: `{{env "HOME"}}`}, `function "env" not defined`},
		"an unknown field":        {v1alpha1.TeamTalkReceiverSpec{Template: `{{range .Alerts}}{{.Severity}}{{end}}`}, "spec.template:1:19: executing"},
		"the same, if resolved":   {v1alpha1.TeamTalkReceiverSpec{ResolvedTemplate: `{{.Nope}}`}, "spec.resolvedTemplate:1:2: executing"},
		"any field of other JSON": {v1alpha1.TeamTalkReceiverSpec{Type: v1alpha1.ReceiverGeneric, Template: `{{.Severity.of.what}}`}, ""},
		"an unknown time zone":    {v1alpha1.TeamTalkReceiverSpec{TimeZone: "Asia/Nowhere"}, "spec.timeZone: an unknown time zone"},
		"a known one":             {v1alpha1.TeamTalkReceiverSpec{TimeZone: "Asia/Shanghai"}, ""},
		"that of the process":     {v1alpha1.TeamTalkReceiverSpec{TimeZone: "Local"}, "spec.timeZone: an unknown time zone"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.spec.Type == "" {
				tc.spec.Type = v1alpha1.ReceiverAlertmanager
			}
			err := Check(t.Context(), &tc.spec)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// TestRoomForEscalation: a text that may be escalated has room for the first line of the escalation, however it is made.
func TestRoomForEscalation(t *testing.T) {
	long := strings.Repeat("é", 4000)
	alerts := &Notification{Status: StatusFiring}
	for range 100 {
		alerts.Alerts = append(alerts.Alerts, Alert{Status: StatusFiring, Labels: KV{"alertname": "A", "x": long[:200]}})
	}
	one := &Notification{Status: StatusFiring, Alerts: Alerts{{Status: StatusFiring, Annotations: KV{"summary": long}}}}
	policy := &v1alpha1.ReceiverReadPolicy{EscalateTo: &v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{2}}}
	for name, tc := range map[string]struct {
		template string
		data     any
	}{
		"alerts":            {"", alerts},
		"a template fails":  {`{{ fail "x" }}`, alerts},
		"one that is long":  {`{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}`, one},
		"a post for a chat": {"", &Post{Text: long}},
	} {
		spec := &v1alpha1.TeamTalkReceiverSpec{Type: v1alpha1.ReceiverAlertmanager, Template: tc.template}
		for room, p := range map[int]*v1alpha1.ReceiverReadPolicy{0: {}, v1alpha1.MaxFirstLine: policy} {
			spec.ReadPolicy = p
			set, err := ParseSet(spec)
			must(t, err)
			limit := cipher.MaxTextWithToken - room
			if got, _ := set.Text(t.Context(), tc.data); len(got) > limit || len(got) < limit-300 {
				t.Errorf("%s: %d bytes of %d", name, len(got), limit)
			}
		}
	}
}

// TestTimes: times are shown in the time zone of the receiver, from whatever they are given as.
func TestTimes(t *testing.T) {
	const want = "2026-03-02 00:05 +0800"
	data := values(t, `{"seconds":1772381100,"text":"1772381100","milliseconds":1772381100250,"float":1.7723811e9,
		"rfc":"2026-03-01T16:05:00Z","offset":"2026-03-01T17:05:00.5+01:00","plain":"2026-03-02 00:05:00","null":null}`)
	spec := &v1alpha1.TeamTalkReceiverSpec{Type: v1alpha1.ReceiverGeneric, TimeZone: "Asia/Shanghai"}
	for _, v := range []string{".seconds", ".milliseconds", ".float", ".rfc", ".offset", ".plain", "(tz `UTC` .rfc).Local", "(div .milliseconds 1000)"} {
		spec.Template = `{{date "2006-01-02 15:04 -0700" ` + v + `}}`
		set, err := ParseSet(spec)
		must(t, err)
		if got, fault := set.Text(t.Context(), data); got != want || fault != nil {
			t.Errorf("%s: %q, %v, want %q", v, got, fault, want)
		}
	}
	for _, v := range []string{".null", ".missing", "`soon`", "true", "1e300"} {
		spec.Template = `{{date "2006-01-02 15:04 -0700" ` + v + `}}`
		set, err := ParseSet(spec)
		must(t, err)
		if got, fault := set.Text(t.Context(), data); fault == nil {
			t.Errorf("%s: %q", v, got)
		}
	}
}
