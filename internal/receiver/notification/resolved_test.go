// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestResolved: a notification resolves earlier ones by the group key, or by the results of dedupKey for its alerts,
// whether it is sent or not.
func TestResolved(t *testing.T) {
	alerts := func(list ...string) string { // name[@instance]=status
		for i, a := range list {
			name, status, _ := strings.Cut(a, "=")
			name, instance, _ := strings.Cut(name, "@")
			list[i] = fmt.Sprintf(`{"status":%q,"labels":{"alertname":%q,"instance":%q},"startsAt":"2026-11-23T12:00:00Z"}`, status, name, instance)
		}
		return fmt.Sprintf(`{"version":"4","groupKey":"g","alerts":[%s]}`, strings.Join(list, ","))
	}
	const alertKey, bodyKey = "payload.labels.alertname", "payload.id"
	for name, tc := range map[string]struct {
		kind           v1alpha1.ReceiverType
		dedup, filter  string
		groupBy        string
		fires, later   string
		group, key     bool // want the message that fires to be resolved
		wantUnlabelled bool
	}{
		"all resolved":             {fires: alerts("A=firing"), later: alerts("A=resolved", "B=resolved"), group: true},
		"another still fires":      {fires: alerts("A=firing"), later: alerts("A=resolved", "B=firing")},
		"others are left out":      {fires: alerts("A=firing"), later: strings.Replace(alerts("A=resolved"), "{", `{"truncatedAlerts":1,`, 1)},
		"none is left out":         {fires: alerts("A=firing"), later: strings.Replace(alerts("A=resolved"), "{", `{"truncatedAlerts":0,`, 1), group: true},
		"by key, still firing":     {dedup: alertKey, groupBy: "instance", fires: alerts("A=firing"), later: alerts("A=firing", "A@2=resolved")},
		"by key, elsewhere":        {dedup: alertKey, groupBy: "instance", fires: alerts("A=firing"), later: alerts("B=firing", "A@2=resolved"), key: true},
		"by key, others left out":  {dedup: alertKey, fires: alerts("A=firing"), later: strings.Replace(alerts("A=resolved"), "{", `{"truncatedAlerts":1,`, 1)},
		"by key, among others":     {dedup: alertKey, filter: `payload.status == "firing"`, fires: alerts("A=firing"), later: alerts("A=firing", "B=firing", "A@2=resolved")},
		"repeated":                 {fires: alerts("A=firing"), later: alerts("A=firing")},
		"filtered":                 {filter: `payload.status == "firing"`, fires: alerts("A=firing"), later: alerts("A=resolved"), group: true},
		"by key":                   {dedup: alertKey, fires: alerts("A=firing"), later: alerts("A=resolved"), group: true, key: true},
		"by key, of several":       {dedup: alertKey, fires: alerts("A=firing"), later: alerts("A=resolved", "B=firing"), key: true},
		"by key, in a message":     {dedup: alertKey, fires: alerts("A=firing"), later: alerts("A=resolved", "B=resolved"), group: true, key: true},
		"by key, one fires":        {dedup: alertKey, fires: alerts("A=firing"), later: alerts("A=firing", "B=firing", "A@2=resolved")},
		"by key, some left out":    {dedup: alertKey, fires: alerts("A=firing"), later: strings.Replace(alerts("A=resolved", "B=firing"), "{", `{"truncatedAlerts":1,`, 1)},
		"by key, filtered":         {dedup: alertKey, filter: `payload.status == "firing"`, fires: alerts("A=firing"), later: alerts("A=resolved", "B=firing"), key: true},
		"another key":              {dedup: alertKey, fires: alerts("A=firing"), later: alerts("B=resolved", "C=firing")},
		"both keys":                {dedup: alertKey, fires: alerts("A=firing", "B=firing"), later: alerts("B=resolved", "A=resolved"), group: true, key: true},
		"one of two keys":          {dedup: alertKey, fires: alerts("A=firing", "B=firing"), later: alerts("A=resolved", "B=firing")},
		"the other one":            {dedup: alertKey, fires: alerts("A=firing", "B=firing"), later: alerts("B=resolved", "C=firing")},
		"both keys, of three":      {dedup: alertKey, fires: alerts("A=firing", "B=firing"), later: alerts("A=resolved", "B=resolved", "C=firing")},
		"a body":                   {kind: v1alpha1.ReceiverGeneric, dedup: bodyKey, fires: `{"id":"1"}`, later: `{"id":"1","status":"RESOLVED"}`, key: true},
		"a body, filtered":         {kind: v1alpha1.ReceiverGeneric, dedup: bodyKey, filter: "!has(payload.status)", fires: `{"id":"1"}`, later: `{"id":"1","status":"resolved"}`, key: true},
		"a body that still fires":  {kind: v1alpha1.ReceiverGeneric, dedup: bodyKey, fires: `{"id":"1"}`, later: `{"id":"1","status":"firing"}`},
		"another body":             {kind: v1alpha1.ReceiverGeneric, dedup: bodyKey, fires: `{"id":"1"}`, later: `{"id":"2","status":"resolved"}`},
		"a body without a key":     {kind: v1alpha1.ReceiverGeneric, fires: `{"id":"1"}`, later: `{"id":"1","status":"resolved"}`, wantUnlabelled: true},
		"alerts without a group":   {fires: strings.ReplaceAll(alerts("A=firing"), `"g"`, `""`), later: strings.ReplaceAll(alerts("A=resolved"), `"g"`, `""`), wantUnlabelled: true},
		"a list instead of a body": {kind: v1alpha1.ReceiverGeneric, fires: `[1]`, later: `["resolved"]`, wantUnlabelled: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(v1alpha1.ReceiverAlertmanager)
			if tc.kind != "" {
				r.Spec.Type = tc.kind
			}
			r.Spec.DedupKey, r.Spec.Filter = tc.dedup, tc.filter
			if tc.groupBy != "" {
				r.Spec.GroupBy = []string{tc.groupBy}
			}
			decode := func(body string) Result {
				result, err := Decode(t.Context(), r, []byte(body), "application/json")
				must(t, err)
				return result
			}
			m, later := decode(tc.fires).Messages[0], decode(tc.later)
			if group := m.AlertGroup != "" && later.ResolvedGroup == m.AlertGroup; group != tc.group {
				t.Errorf("the group is resolved: %v", group)
			}
			if key := m.AlertKey != "" && slices.Contains(later.ResolvedKeys, m.AlertKey); key != tc.key {
				t.Errorf("the key is resolved: %v", key)
			}
			if unlabelled := m.AlertGroup == "" && m.AlertKey == ""; unlabelled != tc.wantUnlabelled || m.Resolved {
				t.Errorf("unlabelled %v, resolved %v", unlabelled, m.Resolved)
			}
			another := r.DeepCopy()
			another.Name = "another"
			other, err := Decode(t.Context(), another, []byte(tc.later), "application/json")
			must(t, err)
			if m.AlertGroup != "" && other.ResolvedGroup == m.AlertGroup || m.AlertKey != "" && slices.Contains(other.ResolvedKeys, m.AlertKey) {
				t.Error("another receiver resolves it")
			}
		})
	}
}
