// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// webhook is a notification as Alertmanager 0.25 posts it.
const webhook = `{"receiver":"team","status":"firing","alerts":[
 {"status":"firing","labels":{"alertname":"HighLatency","instance":"a","severity":"critical"},"annotations":{"summary":"p99 above 1 s"},
  "startsAt":"2026-11-23T12:00:00.000Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prom/graph","fingerprint":"aa"},
 {"status":"resolved","labels":{"alertname":"HighLatency","instance":"b","severity":"critical"},"annotations":{"summary":"p99 above 2 s"},
  "startsAt":"2026-11-23T12:00:00.000Z","endsAt":"2026-11-23T12:10:00Z","generatorURL":"http://prom/graph","fingerprint":"bb"}],
 "groupLabels":{"alertname":"HighLatency"},"commonLabels":{"alertname":"HighLatency","severity":"critical"},
 "commonAnnotations":{},"externalURL":"http://am:9093","version":"4","groupKey":"{}:{alertname=\"HighLatency\"}","truncatedAlerts":0,"unknown":{"field":1}}`

func newReceiver(kind v1alpha1.ReceiverType) *v1alpha1.TeamTalkReceiver {
	r := &v1alpha1.TeamTalkReceiver{}
	r.Namespace, r.Name, r.Spec.Type = "chat", "alerts", kind
	r.Spec.To.Users = []v1alpha1.UserID{2}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func decoded(t *testing.T, body string) *template.Notification {
	t.Helper()
	n, err := decodeAlertmanager([]byte(body), "application/json")
	must(t, err)
	return n.Alerts
}

func TestSplit(t *testing.T) {
	labelled := func(label, value string) template.Alert {
		return template.Alert{Status: template.StatusFiring, Labels: template.KV{"alertname": "Down", label: value}}
	}
	tests := map[string]struct {
		alerts  template.Alerts
		groupBy []string
		// want are the parts as recipients=number of alerts.
		want        string
		wantRefused int
	}{
		"no label":               {template.Alerts{labelled("x", "1")}, nil, "[2 -7]=1", 0},
		"a user":                 {template.Alerts{labelled("to", "3")}, nil, "[3]=1", 0},
		"users and groups":       {template.Alerts{labelled("to", "4, group:8,3,3")}, nil, "[3 4 -8]=1", 0},
		"in another order":       {template.Alerts{labelled("to", "4,3"), labelled("to", "3,4")}, nil, "[3 4]=2", 0},
		"one who is not allowed": {template.Alerts{labelled("to", "99")}, nil, "[2 -7]=1", 1},
		"one of two":             {template.Alerts{labelled("to", "3,99")}, nil, "[3]=1", 1},
		"no id":                  {template.Alerts{labelled("to", "alice")}, nil, "[2 -7]=1", 1},
		"a user's id as a group": {template.Alerts{labelled("to", "group:3")}, nil, "[2 -7]=1", 1},
		"several":                {template.Alerts{labelled("to", "3"), labelled("x", "1"), labelled("to", "4"), labelled("to", "3")}, nil, "[2 -7]=1 [3]=2 [4]=1", 0},
		"by label":               {template.Alerts{labelled("x", "1"), labelled("x", "2"), labelled("x", "1")}, []string{"x"}, "[2 -7]=2 [2 -7]=1", 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(v1alpha1.ReceiverAlertmanager)
			r.Spec.To.Groups = []v1alpha1.GroupID{7}
			r.Spec.ToLabel = "to"
			r.Spec.Allow = &v1alpha1.Recipients{Users: []v1alpha1.UserID{3, 4}, Groups: []v1alpha1.GroupID{8}}
			r.Spec.GroupBy = tc.groupBy
			parts, refused := split(r, &template.Notification{Alerts: tc.alerts})
			var got []string
			ids := strings.NewReplacer("{User ", "", "{Group ", "-", "}", "")
			hashes := map[string]bool{}
			for _, p := range parts {
				got = append(got, ids.Replace(fmt.Sprint(p.To))+"="+string('0'+rune(len(p.Alerts.Alerts))))
				hashes[p.Hash] = true
			}
			if strings.Join(got, " ") != tc.want || refused != tc.wantRefused || len(hashes) != len(parts) {
				t.Errorf("%q, %d refused, %d hashes; want %q, %d", got, refused, len(hashes), tc.want, tc.wantRefused)
			}
		})
	}
}

func TestPartsSpeakOfThemselves(t *testing.T) {
	r := newReceiver(v1alpha1.ReceiverAlertmanager)
	r.Spec.GroupBy = []string{"instance"}
	parts, _ := split(r, decoded(t, webhook))
	if len(parts) != 2 {
		t.Fatalf("%d parts", len(parts))
	}
	for i, want := range []string{template.StatusFiring, template.StatusResolved} {
		if n := parts[i].Alerts; n.Status != want || n.CommonLabels["instance"] != n.Alerts[0].Labels["instance"] || n.CommonAnnotations["summary"] == "" {
			t.Errorf("part %d: %+v, want %s", i, n, want)
		}
	}
}

func TestHashNamesWhatIsNotified(t *testing.T) {
	of := func(edit func(*template.Notification), name string) string {
		n := decoded(t, webhook)
		edit(n)
		r := newReceiver(v1alpha1.ReceiverAlertmanager)
		r.Name = name
		parts, _ := split(r, n)
		return parts[0].Hash
	}
	first := of(func(*template.Notification) {}, "alerts")
	for name, edit := range map[string]func(*template.Notification){
		"another order":     func(n *template.Notification) { n.Alerts[0], n.Alerts[1] = n.Alerts[1], n.Alerts[0] },
		"other annotations": func(n *template.Notification) { n.Alerts[0].Annotations = nil },
		"another URL":       func(n *template.Notification) { n.ExternalURL = "http://peer" },
		"a later end":       func(n *template.Notification) { n.Alerts[0].EndsAt = n.Alerts[0].StartsAt },
		"another time's zone": func(n *template.Notification) {
			must(t, json.Unmarshal([]byte(`"2026-11-23T13:00:00+01:00"`), &n.Alerts[0].StartsAt))
		},
	} {
		if of(edit, "alerts") != first {
			t.Errorf("%s is another notification", name)
		}
	}
	for name, edit := range map[string]func(*template.Notification){
		"resolved":      func(n *template.Notification) { n.Alerts[0].Status = template.StatusResolved },
		"fired again":   func(n *template.Notification) { n.Alerts[0].StartsAt = n.Alerts[0].StartsAt.Add(1) },
		"another alert": func(n *template.Notification) { n.Alerts[0].Fingerprint = "cc" },
		"fewer alerts":  func(n *template.Notification) { n.Alerts = n.Alerts[:1] },
		"another group": func(n *template.Notification) { n.GroupKey = "x" },
	} {
		if of(edit, "alerts") == first {
			t.Errorf("%s is the same notification", name)
		}
	}
	if of(func(*template.Notification) {}, "others") == first {
		t.Error("another receiver's is the same notification")
	}
	if len(first) != 20 {
		t.Errorf("hash %q", first)
	}
}

func TestDecode(t *testing.T) {
	tests := map[string]string{
		"":                                   "bad syntax",
		"{":                                  "bad syntax",
		"[]":                                 "wrong type",
		"{}":                                 "no alerts",
		`{"alerts":"x"}`:                     "wrong type",
		`{"alerts":[1]}`:                     "wrong type",
		`{"alerts":[]}`:                      "no alerts",
		`{"alerts":[{"startsAt":"secret"}]}`: "cannot be read",
	}
	for body, want := range tests {
		_, err := decodeAlertmanager([]byte(body), "application/json")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
	if n := decoded(t, `{"status":"resolved","alerts":[{}]}`); n.Alerts[0].Status != template.StatusResolved {
		t.Errorf("an alert without a status is not of the notification's: %+v", n)
	}
}

func TestTooMuchToDecode(t *testing.T) {
	for name, body := range map[string]string{
		"too many values": `{"alerts":[` + strings.Repeat("{},", 33_000) + `{}]}`,
		"too deep":        strings.Repeat("[", 201) + strings.Repeat("]", 201),
		"two values":      `{} {}`,
	} {
		for kind := range dialects {
			if _, _, err := Decode(newReceiver(kind), []byte(body), "application/json"); err == nil {
				t.Errorf("%s: is decoded as %s", name, kind)
			}
		}
	}
	text := `["` + strings.Repeat(`[,{\"`, 20_000) + `"]`
	if _, _, err := Decode(newReceiver(v1alpha1.ReceiverGeneric), []byte(text), "application/json"); err != nil {
		t.Errorf("what is in a text: %v", err)
	}
}
