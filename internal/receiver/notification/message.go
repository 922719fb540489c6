// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// Message is the source of one TeamTalkMessage: alerts for the same recipients, or a body.
type Message struct {
	// Hash identifies the notification: repeats have the same hash.
	Hash string
	To   []v1alpha1.Recipient
	// Keys are the results of spec.dedupKey for each alert, or for the body. If empty, it is identified without keys.
	Keys []string
	// Alerts is set if the dialect has alerts, otherwise Body.
	Alerts *template.Notification
	Body   any
	// AlertGroup and AlertKey are hashes by which a later notification resolves its alerts. They are "" if none can.
	AlertGroup, AlertKey string
	// Resolved: all of its alerts are resolved.
	Resolved bool
}

// Data is the data for templates.
func (m Message) Data() any {
	if m.Alerts != nil {
		return m.Alerts
	}
	return m.Body
}

// split splits alerts by the recipients that they name, and by groupBy. Filtered alerts are left out.
func split(ctx context.Context, r *v1alpha1.TeamTalkReceiver, n *template.Notification) Result {
	type group struct {
		named  string // empty: spec.to
		to     []v1alpha1.Recipient
		alerts []alert
	}
	alerts, result := decide(ctx, r, n)
	groupHash := hashGroup(r, n.GroupKey)
	if len(n.Alerts.Firing()) == 0 && n.TruncatedAlerts == 0 { // those that were left out may fire
		result.ResolvedGroup = groupHash
	}
	groups := map[string]*group{}
	for _, a := range alerts {
		named, to := "", r.Spec.To.All()
		if len(a.to) > 0 {
			named, to = identify(a.to), a.to
		}
		key := []string{named}
		for _, label := range r.Spec.GroupBy {
			key = append(key, a.Labels[label])
		}
		id := fmt.Sprintf("%q", key)
		if groups[id] == nil {
			groups[id] = &group{named: named, to: to}
		}
		groups[id].alerts = append(groups[id].alerts, a)
	}
	for i, id := range slices.Sorted(maps.Keys(groups)) {
		g, own := groups[id], *n
		m := Message{Hash: hashAlerts(r, n.GroupKey, g.named, g.alerts), To: g.to, Alerts: &own}
		own.Alerts = make(template.Alerts, len(g.alerts))
		for j, a := range g.alerts {
			own.Alerts[j] = a.Alert
			if a.keyed && !slices.Contains(m.Keys, a.key) {
				m.Keys = append(m.Keys, a.key)
			}
		}
		if i > 0 {
			// The recipients of omitted alerts are not known. The first message tells of them: the one to spec.to, if any.
			own.TruncatedAlerts = 0
		}
		if len(groups) > 1 || result.Filtered > 0 {
			summarize(&own)
		}
		m.AlertGroup, m.AlertKey = groupHash, hashKeys(r, m.Keys)
		if m.Resolved = len(own.Alerts.Firing()) == 0; m.Resolved {
			result.resolve(m.AlertKey)
		}
		result.Messages = append(result.Messages, m)
	}
	result.keepFiring(r, alerts, n.TruncatedAlerts == 0)
	return result
}

// hashGroup returns a hash of a group of alerts, or "" if there is no group.
func hashGroup(r *v1alpha1.TeamTalkReceiver, key string) string {
	if key == "" {
		return ""
	}
	return Hash("alert group", r.Namespace, r.Name, key)
}

// hashKeys returns a hash of the results of dedupKey for alerts, or "" if there are none.
func hashKeys(r *v1alpha1.TeamTalkReceiver, keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return Hash(append([]string{"alert keys", r.Namespace, r.Name}, slices.Sorted(slices.Values(keys))...)...)
}

// resolve records that the alerts with a hash are resolved.
func (r *Result) resolve(hash string) {
	if hash != "" {
		r.ResolvedKeys = append(r.ResolvedKeys, hash)
	}
}

// keepFiring leaves out repeats, and the keys of alerts that still fire: others with the same key may be resolved. If
// the notification does not have all alerts, those that were left out may fire.
func (r *Result) keepFiring(receiver *v1alpha1.TeamTalkReceiver, alerts []alert, hasAll bool) {
	fires := map[string]bool{}
	for _, m := range r.Messages {
		fires[m.AlertKey] = fires[m.AlertKey] || !m.Resolved
	}
	for _, a := range alerts {
		if a.keyed && a.Status != template.StatusResolved {
			fires[hashKeys(receiver, []string{a.key})] = true
		}
	}
	r.ResolvedKeys = slices.DeleteFunc(r.ResolvedKeys, func(hash string) bool { return !hasAll || fires[hash] })
	slices.Sort(r.ResolvedKeys)
	r.ResolvedKeys = slices.Compact(r.ResolvedKeys)
}

// summarize sets the fields of a notification about all of its alerts.
func summarize(n *template.Notification) {
	n.Status = template.StatusResolved
	if len(n.Alerts.Firing()) > 0 {
		n.Status = template.StatusFiring
	}
	n.CommonLabels = common(n.Alerts, func(a template.Alert) template.KV { return a.Labels })
	n.CommonAnnotations = common(n.Alerts, func(a template.Alert) template.KV { return a.Annotations })
}

// common returns the pairs that all alerts have.
func common(alerts template.Alerts, of func(template.Alert) template.KV) template.KV {
	all := template.KV{}
	maps.Copy(all, of(alerts[0]))
	for _, a := range alerts[1:] {
		maps.DeleteFunc(all, func(name, value string) bool {
			other, ok := of(a)[name]
			return !ok || other != value
		})
	}
	return all
}

// limitRecipients splits messages with more recipients than a message may have in addition to those in escalateTo.
// Their hashes follow from the first one.
func limitRecipients(r *v1alpha1.TeamTalkReceiver, messages []Message) []Message {
	most := v1alpha1.MaxRecipients
	if p := r.Spec.ReadPolicy; p != nil && p.EscalateTo != nil {
		most -= len(p.EscalateTo.All())
	}
	var all []Message
	for _, m := range messages {
		i := 0
		for to := range slices.Chunk(m.To, most) {
			one := m
			if one.To = to; i > 0 {
				one.Hash = Hash("recipients", m.Hash, strconv.Itoa(i))
			}
			all = append(all, one)
			i++
		}
	}
	return all
}

// hashAlerts identifies a set of alerts. An alert that is resolved or fires again is another one. Alertmanagers of a
// cluster send the same values for all of it. The key of an alert, if there is one, replaces its group, fingerprint and
// start, but not its status: a resolved alert never repeats a firing one.
func hashAlerts(r *v1alpha1.TeamTalkReceiver, groupKey, named string, alerts []alert) string {
	lines := make([]string, len(alerts))
	keyed := true
	for i, a := range alerts {
		if a.keyed {
			lines[i] = strings.Join([]string{"key", a.Status, a.key}, "\x00")
			continue
		}
		keyed = false
		id := a.Fingerprint
		if id == "" {
			id = fmt.Sprintf("%q", []template.Pair(a.Labels.SortedPairs()))
		}
		lines[i] = strings.Join([]string{id, a.Status, a.StartsAt.UTC().String()}, "\x00")
	}
	if keyed {
		groupKey = ""
	}
	slices.Sort(lines)
	return Hash(append([]string{"alerts", r.Namespace, r.Name, groupKey, named}, slices.Compact(lines)...)...)
}

// Hash returns the first 80 bits of the fields' digest, in hexadecimal.
func Hash(fields ...string) string {
	digest := cipher.Digest(fields...)
	return hex.EncodeToString(digest[:10])
}
