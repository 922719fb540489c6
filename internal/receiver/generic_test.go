// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

func generic(template string) *v1alpha1.TeamTalkReceiver {
	r := alertmanager(template)
	r.Spec.Type = v1alpha1.ReceiverGeneric
	return r
}

// posted is the text that a receiver makes of a body.
func posted(t *testing.T, r *v1alpha1.TeamTalkReceiver, body string) (string, error) {
	t.Helper()
	previews, _, err := PreviewOf(t.Context(), r, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(previews) != 1 {
		t.Fatalf("%d messages", len(previews))
	}
	return previews[0].Text, previews[0].Fault
}

// TestNumbers: they are what was posted, whatever is done with them.
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
	if got, fault := rendered(t, r, part{alerts: n}); fault != nil || len(got) < cipher.MaxTextWithToken-8 || !strings.HasSuffix(got, "é…\n+1 more") {
		t.Errorf("%d bytes, %v", len(got), fault)
	}
}

func TestTooMuchToDecode(t *testing.T) {
	for name, body := range map[string]string{
		"too many values": `{"alerts":[` + strings.Repeat("{},", 33_000) + `{}]}`,
		"too deep":        strings.Repeat("[", 201) + strings.Repeat("]", 201),
		"two values":      `{} {}`,
	} {
		if _, err := decodeGeneric([]byte(body)); err == nil {
			t.Errorf("%s: is decoded", name)
		}
		if _, err := decodeAlertmanager([]byte(body)); err == nil {
			t.Errorf("%s: is decoded", name)
		}
	}
	if _, err := decodeGeneric([]byte(`["` + strings.Repeat(`[,{\"`, 20_000) + `"]`)); err != nil {
		t.Errorf("what is in a text: %v", err)
	}
}

// TestEndOfRequestIsNoFault: a template is not blamed for a request that has no time left.
func TestEndOfRequestIsNoFault(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, template := range []string{"", `{{range 10}}x{{end}}`, `{{fail "no"}}`} {
		templates, err := ParseTemplates(alertmanager(template))
		if err != nil {
			t.Fatal(err)
		}
		if _, fault := templates.text(over, alertmanager(template), part{alerts: many(3)}); fault != nil {
			t.Errorf("%q: %v", template, fault)
		}
	}
	parsed, err := ParseTemplate("template", "{{range 10}}x{{end}}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.Execute(over, nil, execution{purse: newPurse(), limit: maxOutput}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestTimesAreUTC: the text is the same wherever it is made.
func TestTimesAreUTC(t *testing.T) {
	t.Setenv("TZ", "Asia/Tokyo")
	n := decoded(t, strings.ReplaceAll(webhook, "12:00:00.000Z", "14:00:00+02:00"))
	r := alertmanager(`{{with (index .Alerts 0).StartsAt}}{{.}}, {{.Local}}, {{.UTC.Format "15:04 MST"}}, {{(.Local.Add 28800e9).Format "15:04 MST"}}, {{date "15:04" .}}, {{.Unix}}{{end}}
{{- range .Alerts}}, {{.EndsAt.Sub .StartsAt | printf "%.0f" }}{{end}}`)
	const noon = "2026-11-23 12:00:00 +0000 UTC"
	got, fault := rendered(t, r, part{alerts: n})
	if want := fmt.Sprintf("%s, %s, 12:00 UTC, 20:00 UTC, 12:00, 1795435200", noon, noon); fault != nil || !strings.HasPrefix(got, want) {
		t.Errorf("%q, %v, want %q", got, fault, want)
	}
}

// TestTruncatedAlertsAreCountedOnce: of a notification that is split, one part tells
// what Alertmanager left out.
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
	if got := moreOf(3, 18446744073709551615); !strings.Contains(got, "more") {
		t.Errorf("%q", got)
	}
}
