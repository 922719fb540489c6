// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// newExpressive returns a receiver without flood control that exists, so that its status is written.
func newExpressive(t *testing.T, edit func(*v1alpha1.TeamTalkReceiverSpec)) *flooded {
	t.Helper()
	x := newFlooded(t)
	x.receiver.Spec.FloodControl = nil
	x.receiver.UID, x.receiver.Generation = "here", 1
	edit(&x.receiver.Spec)
	created := x.receiver.DeepCopy()
	must(t, x.client.Create(t.Context(), created))
	return x
}

// post posts a body, and returns the answer and the texts of the messages that it made.
func (x *flooded) post(body string) (a answer, texts []string) {
	x.t.Helper()
	key := client.ObjectKeyFromObject(x.receiver)
	a = x.handler.receive(x.t.Context(), x.receiver, []byte(body), "application/json")
	x.handler.record(key, a)
	x.handler.status.flush(x.t.Context())
	for _, name := range a.Messages {
		texts = append(texts, *x.message(name).Spec.Content.Text)
	}
	return a, texts
}

func (x *flooded) status() v1alpha1.TeamTalkReceiverStatus {
	x.t.Helper()
	r := &v1alpha1.TeamTalkReceiver{}
	must(x.t, x.client.Get(x.t.Context(), client.ObjectKeyFromObject(x.receiver), r))
	return r.Status
}

// processed returns the reason of Processed, and its message.
func (x *flooded) processed() (reason, message string) {
	x.t.Helper()
	c := meta.FindStatusCondition(x.status().Conditions, v1alpha1.ConditionProcessed)
	if c == nil {
		return "", ""
	}
	if (c.Status == "True") != (c.Reason == v1alpha1.ReasonProcessed) || c.ObservedGeneration != x.receiver.Generation {
		x.t.Errorf("%+v", c)
	}
	return c.Reason, c.Message
}

const twoTeams = `{"version":"4","groupKey":"g","status":"firing","alerts":[
	{"status":"firing","labels":{"alertname":"Slow","team":"db","severity":"critical"},"startsAt":"2026-03-01T16:05:00Z"},
	{"status":"firing","labels":{"alertname":"Slow","team":"web","severity":"info"},"startsAt":"2026-03-01T16:06:00Z"},
	{"status":"resolved","labels":{"alertname":"Slow","team":"net","severity":"critical"},"startsAt":"2026-03-01T16:07:00Z"}]}`

func TestFilter(t *testing.T) {
	tests := map[string]struct {
		filter       string
		want         []string
		wantFiltered int
		wantReason   string
	}{
		"some":               {`payload.labels.severity != "info"`, []string{"firing 2 team=db team=net"}, 1, v1alpha1.ReasonProcessed},
		"those that fire":    {`payload.status == "resolved"`, []string{"resolved 1 team=net"}, 2, v1alpha1.ReasonProcessed},
		"all":                {`false`, nil, 3, v1alpha1.ReasonProcessed},
		"none":               {`true`, []string{"firing 3 team=db team=web team=net"}, 0, v1alpha1.ReasonProcessed},
		"by the whole":       {`notification.alerts.size() > 3`, nil, 3, v1alpha1.ReasonProcessed},
		"one that fails":     {`payload.labels.team == "db" || int(payload.labels.severity) > 1`, []string{"firing 3 team=db team=web team=net"}, 0, v1alpha1.ReasonExpressionFailed},
		"one that is no CEL": {`payload.labels.team = "db"`, []string{"firing 3 team=db team=web team=net"}, 0, v1alpha1.ReasonExpressionFailed},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			x := newExpressive(t, func(s *v1alpha1.TeamTalkReceiverSpec) {
				s.Filter, s.Template = tc.filter, `{{.Status}} {{len .Alerts}}{{range .Alerts}} team={{.Labels.team}}{{end}}`
			})
			a, texts := x.post(twoTeams)
			if a.code != http.StatusOK || !slices.Equal(texts, tc.want) || a.Filtered != tc.wantFiltered {
				t.Errorf("%+v, %q; want %q", a, texts, tc.want)
			}
			s := x.status()
			if reason, message := x.processed(); reason != tc.wantReason || s.Counts.Filtered != int64(tc.wantFiltered) || s.Counts.Received != 1 {
				t.Errorf("%s, %s, %+v", reason, message, s.Counts)
			}
			if failed := tc.wantReason == v1alpha1.ReasonExpressionFailed; failed != (s.Counts.ExpressionFaults > 0) || failed != (s.LastError != nil) {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestRecipientsByContent(t *testing.T) {
	x := newExpressive(t, func(s *v1alpha1.TeamTalkReceiverSpec) {
		s.To.Users = []v1alpha1.UserID{2}
		s.Allow = &v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{3}, Groups: []v1alpha1.GroupID{7}}
		s.Recipients = `payload.labels.team == "db" ? [group(7), user(3), user(3), user(99)] : payload.labels.team == "net" ? [user(98)] : []`
	})
	a, _ := x.post(twoTeams)
	var got []string
	for _, name := range a.Messages {
		m := x.message(name)
		got = append(got, strings.ReplaceAll(strings.Fields(*m.Spec.Content.Text)[0], "🔥", "")+toOf(m))
	}
	slices.Sort(got)
	if want := []string{"[2] []", "[3] [7]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if e := x.status().LastError; e == nil || !strings.HasPrefix(e.Message, "for 2 alerts or bodies, spec.recipients names recipients") {
		t.Errorf("%+v", e)
	}
	if again, _ := x.post(twoTeams); len(again.Messages) != 0 || again.Duplicates != 2 {
		t.Errorf("again: %+v", again)
	}
	if reason, _ := x.processed(); reason != v1alpha1.ReasonProcessed {
		t.Errorf("%s: nothing has failed", reason)
	}
}

// TestRecipientsByName: messages carry names as they are, which make notifications of their own.
func TestRecipientsByName(t *testing.T) {
	x := newExpressive(t, func(s *v1alpha1.TeamTalkReceiverSpec) {
		s.To = v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{2}, UserNames: []string{"li.si"}, GroupNames: []string{"everyone"}}
		s.Allow = &v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{3}, UserNames: []string{"zhang.san"}, GroupNames: []string{"oncall"}}
		s.Recipients = `payload.labels.team == "db" ? [group("oncall"), user("zhang.san"), user(3), user("3"), group("zhang.san")] : []`
	})
	a, _ := x.post(twoTeams)
	got := map[string]bool{}
	for _, name := range a.Messages {
		to := x.message(name).Spec.To
		got[fmt.Sprintf("%v %v %v %v", to.Users, to.UserNames, to.Groups, to.GroupNames)] = true
	}
	if len(got) != 2 || !got["[2] [li.si] [] [everyone]"] || !got["[3] [zhang.san] [] [oncall]"] {
		t.Errorf("%v", got)
	}
	if e := x.status().LastError; e == nil || !strings.Contains(e.Message, `user("2") needs "2" in allow.userNames`) || strings.Contains(e.Message, "zhang") {
		t.Errorf("%+v", e)
	}
	if again, _ := x.post(twoTeams); len(again.Messages) != 0 || again.Duplicates != 2 {
		t.Errorf("again: %+v", again)
	}
	x.receiver.Spec.Allow.UserNames = nil
	if other, _ := x.post(twoTeams); len(other.Messages) != 1 || other.Duplicates != 1 {
		t.Errorf("to others: %+v", other)
	}
}

func toOf(m *v1alpha1.TeamTalkMessage) string {
	text := strings.Builder{}
	for _, list := range []int{0, 1} {
		var ids []string
		for _, r := range m.Spec.To.All() {
			if (r.Type == v1alpha1.RecipientGroup) == (list == 1) {
				ids = append(ids, string(rune('0'+r.ID)))
			}
		}
		text.WriteString("[" + strings.Join(ids, " ") + "] ")
	}
	return strings.TrimSpace(text.String())
}

func readFlux(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "flux", name+".json"))
	must(t, err)
	return string(b)
}

// TestFluxRepeats: Flux repeats an event with a new timestamp and resourceVersion.
func TestFluxRepeats(t *testing.T) {
	for key, want := range map[string][]int{
		"": {1, 1, 1, 1},
		`payload.involvedObject.uid + payload.reason`:                                           {1, 0, 1, 0},
		`payload.involvedObject.uid + payload.reason + payload.?metadata.?revision.orValue("")`: {1, 0, 1, 0},
		`payload.involvedObject.uid`:                                                            {1, 0, 0, 0},
		`payload.involvedObject.uid + payload.missing`:                                          {1, 1, 1, 1},
		`""`: {1, 1, 1, 1},
	} {
		t.Run(key, func(t *testing.T) {
			x := newExpressive(t, func(s *v1alpha1.TeamTalkReceiverSpec) {
				s.Type, s.DedupKey = v1alpha1.ReceiverGeneric, key
			})
			var got []int
			again := strings.Replace(readFlux(t, "failed"), "16:05:00", "16:09:00", 1)
			for _, body := range []string{readFlux(t, "failed"), readFlux(t, "failed-again"), readFlux(t, "succeeded"), again} {
				a, _ := x.post(body)
				got = append(got, len(a.Messages))
				if a.code != http.StatusOK || len(a.Messages)+a.Duplicates != 1 {
					t.Errorf("%+v", a)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v messages, want %v", got, want)
			}
			if reason, message := x.processed(); (reason == v1alpha1.ReasonExpressionFailed) != strings.Contains(key, "missing") ||
				strings.Contains(key, "missing") && !strings.Contains(message, "spec.dedupKey: line 1, column 37: no such key: missing") {
				t.Errorf("%s: %s", reason, message)
			}
			// After the window it is a new one.
			x.now = x.now.Add(301 * time.Second)
			if a, _ := x.post(readFlux(t, "failed-again")); key != "" && len(a.Messages) != 1 {
				t.Errorf("later: %+v", a)
			}
		})
	}
}

// TestKeysOfAlerts: a firing and a resolved alert are never the same.
func TestKeysOfAlerts(t *testing.T) {
	one := func(status, pod, startsAt, groupKey string) string {
		return `{"version":"4","groupKey":"` + groupKey + `","status":"` + status + `","alerts":[{"status":"` + status + `","fingerprint":"` + pod +
			`","labels":{"alertname":"Slow","service":"web","pod":"` + pod + `"},"startsAt":"` + startsAt + `"}]}`
	}
	const early, late = "2026-03-01T16:05:00Z", "2026-03-01T16:09:00Z"
	x := newExpressive(t, func(s *v1alpha1.TeamTalkReceiverSpec) {
		s.DedupKey = `payload.labels.alertname + "/" + payload.labels.service`
	})
	for _, step := range []struct {
		name, body string
		want       int
	}{
		{"fires", one("firing", "web-1", early, "a"), 1},
		{"another pod, start and group", one("firing", "web-2", late, "b"), 0},
		{"is resolved", one("resolved", "web-1", early, "a"), 1},
		{"another pod is resolved", one("resolved", "web-2", late, "a"), 0},
		{"another alert", strings.ReplaceAll(one("firing", "web-1", early, "a"), "Slow", "Down"), 1},
	} {
		if a, _ := x.post(step.body); len(a.Messages) != step.want || len(a.Messages)+a.Duplicates != 1 {
			t.Errorf("%s: %+v, want %d messages", step.name, a, step.want)
		}
	}
}

// TestProcessed: a fault is shown until the receiver changes, or for an hour.
func TestProcessed(t *testing.T) {
	x := newExpressive(t, func(s *v1alpha1.TeamTalkReceiverSpec) {
		s.Template = `{{ if eq .CommonLabels.team "db" }}{{ fail "no" }}{{ end }}ok`
	})
	want := func(when, reason, text string) {
		t.Helper()
		if got, message := x.processed(); got != reason || !strings.Contains(message, text) {
			t.Errorf("%s: %s, %s; want %s", when, got, message, reason)
		}
	}
	n := 0
	post := func(team string) {
		t.Helper()
		n++
		x.post(strings.NewReplacer("TEAM", team, "NUMBER", string(rune('a'+n))).Replace(
			`{"version":"4","status":"firing","alerts":[{"status":"firing","fingerprint":"NUMBER","labels":{"team":"TEAM"}}]}`))
	}
	want("at first", "", "")
	post("web")
	want("without a fault", v1alpha1.ReasonProcessed, "as declared")
	post("db")
	want("with one", v1alpha1.ReasonTemplateFailed, "the built-in template was used: template:")
	post("web")
	want("after it", v1alpha1.ReasonTemplateFailed, "the built-in template was used")
	x.now = x.now.Add(faultInterval + time.Second)
	post("web")
	want("after an hour", v1alpha1.ReasonProcessed, "")
	post("db")
	want("again", v1alpha1.ReasonTemplateFailed, "")
	old := x.receiver.DeepCopy()
	x.receiver.Generation++
	x.receiver.Spec.Template = "ok"
	post("db")
	want("after a change", v1alpha1.ReasonProcessed, "")
	// A process that has not seen the change yet.
	x.handler.recordTemplateFault(old, os.ErrInvalid)
	x.handler.status.flush(t.Context())
	want("of what it was before", v1alpha1.ReasonProcessed, "")
}
