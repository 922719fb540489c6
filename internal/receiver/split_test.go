// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

func TestSplit(t *testing.T) {
	labelled := func(label, value string) Alert {
		return Alert{Status: statusFiring, Labels: KV{"alertname": "Down", label: value}}
	}
	tests := map[string]struct {
		alerts  Alerts
		groupBy []string
		// want are the parts as recipients=number of alerts.
		want        string
		wantRefused int
	}{
		"no label":               {Alerts{labelled("x", "1")}, nil, "[2 -7]=1", 0},
		"a user":                 {Alerts{labelled("to", "3")}, nil, "[3]=1", 0},
		"users and groups":       {Alerts{labelled("to", "4, group:8,3,3")}, nil, "[3 4 -8]=1", 0},
		"in another order":       {Alerts{labelled("to", "4,3"), labelled("to", "3,4")}, nil, "[3 4]=2", 0},
		"one who is not allowed": {Alerts{labelled("to", "99")}, nil, "[2 -7]=1", 1},
		"one of two":             {Alerts{labelled("to", "3,99")}, nil, "[3]=1", 1},
		"no id":                  {Alerts{labelled("to", "alice")}, nil, "[2 -7]=1", 1},
		"a user's id as a group": {Alerts{labelled("to", "group:3")}, nil, "[2 -7]=1", 1},
		"several":                {Alerts{labelled("to", "3"), labelled("x", "1"), labelled("to", "4"), labelled("to", "3")}, nil, "[2 -7]=1 [3]=2 [4]=1", 0},
		"by label":               {Alerts{labelled("x", "1"), labelled("x", "2"), labelled("x", "1")}, []string{"x"}, "[2 -7]=2 [2 -7]=1", 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := alertmanager("")
			r.Spec.To.Groups = []v1alpha1.GroupID{7}
			r.Spec.ToLabel = "to"
			r.Spec.Allow = &v1alpha1.Recipients{Users: []v1alpha1.UserID{3, 4}, Groups: []v1alpha1.GroupID{8}}
			r.Spec.GroupBy = tc.groupBy
			parts, refused := split(r, &Notification{Alerts: tc.alerts})
			var got []string
			hashes := map[string]bool{}
			for _, p := range parts {
				got = append(got, fmt.Sprint(idsOf(p.to))+"="+string('0'+rune(len(p.alerts.Alerts))))
				hashes[p.hash] = true
			}
			if strings.Join(got, " ") != tc.want || refused != tc.wantRefused || len(hashes) != len(parts) {
				t.Errorf("%q, %d refused, %d hashes; want %q, %d", got, refused, len(hashes), tc.want, tc.wantRefused)
			}
		})
	}
}

func TestPartsSpeakOfThemselves(t *testing.T) {
	r := alertmanager("")
	r.Spec.GroupBy = []string{"instance"}
	parts, _ := split(r, decoded(t, webhook))
	if len(parts) != 2 {
		t.Fatalf("%d parts", len(parts))
	}
	for i, want := range []string{statusFiring, statusResolved} {
		if n := parts[i].alerts; n.Status != want || n.CommonLabels["instance"] != n.Alerts[0].Labels["instance"] || n.CommonAnnotations["summary"] == "" {
			t.Errorf("part %d: %+v, want %s", i, n, want)
		}
	}
}

func TestHashNamesWhatIsNotified(t *testing.T) {
	of := func(edit func(*Notification), name string) string {
		n := decoded(t, webhook)
		edit(n)
		r := alertmanager("")
		r.Name = name
		parts, _ := split(r, n)
		return parts[0].hash
	}
	first := of(func(*Notification) {}, "alerts")
	for name, edit := range map[string]func(*Notification){
		"another order":       func(n *Notification) { n.Alerts[0], n.Alerts[1] = n.Alerts[1], n.Alerts[0] },
		"other annotations":   func(n *Notification) { n.Alerts[0].Annotations = nil },
		"another URL":         func(n *Notification) { n.ExternalURL = "http://peer" },
		"a later end":         func(n *Notification) { n.Alerts[0].EndsAt = n.Alerts[0].StartsAt },
		"another time's zone": func(n *Notification) { n.Alerts[0].StartsAt.t = n.Alerts[0].StartsAt.t.In(time.FixedZone("", 3600)) },
	} {
		if of(edit, "alerts") != first {
			t.Errorf("%s is another notification", name)
		}
	}
	for name, edit := range map[string]func(*Notification){
		"resolved":      func(n *Notification) { n.Alerts[0].Status = statusResolved },
		"fired again":   func(n *Notification) { n.Alerts[0].StartsAt = n.Alerts[0].StartsAt.Add(1) },
		"another alert": func(n *Notification) { n.Alerts[0].Fingerprint = "cc" },
		"fewer alerts":  func(n *Notification) { n.Alerts = n.Alerts[:1] },
		"another group": func(n *Notification) { n.GroupKey = "x" },
	} {
		if of(edit, "alerts") == first {
			t.Errorf("%s is the same notification", name)
		}
	}
	if of(func(*Notification) {}, "others") == first {
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
		_, err := decodeAlertmanager([]byte(body))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
	if n := decoded(t, `{"status":"resolved","alerts":[{}]}`); n.Alerts[0].Status != statusResolved {
		t.Errorf("an alert without a status is not of the notification's: %+v", n)
	}
}
