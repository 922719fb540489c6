// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"cmp"
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

// Message is what becomes one TeamTalkMessage: alerts for the same recipients, or a body.
type Message struct {
	// Hash identifies the notification: repeats have the same hash.
	Hash string
	To   []v1alpha1.Recipient
	// Alerts is set if the dialect has alerts, otherwise Body.
	Alerts *template.Notification
	Body   any
}

// Data is what templates get.
func (m Message) Data() any {
	if m.Alerts != nil {
		return m.Alerts
	}
	return m.Body
}

// split splits alerts by the recipients that they name, and by groupBy. Refused is the number of alerts that name
// recipients that spec.allow does not list, or something that is not an id.
func split(r *v1alpha1.TeamTalkReceiver, n *template.Notification) (messages []Message, refused int) {
	type group struct {
		named  string // by the label; empty: spec.to
		to     []v1alpha1.Recipient
		alerts template.Alerts
	}
	groups := map[string]*group{}
	for _, a := range n.Alerts {
		to, ok := namedRecipients(r, a.Labels)
		if !ok {
			refused++
		}
		named := ""
		if len(to) > 0 {
			named = fmt.Sprint(to)
		} else {
			to = r.Spec.To.All()
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
		own.Alerts = g.alerts
		if i > 0 {
			// The recipients of what was left out are not known. The first message tells of it: the one to spec.to, if any.
			own.TruncatedAlerts = 0
		}
		if len(groups) > 1 {
			summarize(&own)
		}
		messages = append(messages, Message{Hash: hashAlerts(r, n.GroupKey, g.named, g.alerts), To: g.to, Alerts: &own})
	}
	return messages, refused
}

// summarize sets what a notification says about all of its alerts.
func summarize(n *template.Notification) {
	n.Status = template.StatusResolved
	if len(n.Alerts.Firing()) > 0 {
		n.Status = template.StatusFiring
	}
	n.CommonLabels = common(n.Alerts, func(a template.Alert) template.KV { return a.Labels })
	n.CommonAnnotations = common(n.Alerts, func(a template.Alert) template.KV { return a.Annotations })
}

// common returns what all alerts have.
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

// namedRecipients returns the recipients that an alert names and spec.allow lists. Not ok: the label also names others,
// or something that is not an id.
func namedRecipients(r *v1alpha1.TeamTalkReceiver, labels template.KV) (list []v1alpha1.Recipient, ok bool) {
	value := labels[r.Spec.ToLabel]
	if r.Spec.ToLabel == "" || value == "" {
		return nil, true
	}
	ok = true
	for name := range strings.SplitSeq(value, ",") {
		kind, digits := v1alpha1.RecipientUser, strings.TrimSpace(name)
		if rest, isGroup := strings.CutPrefix(digits, "group:"); isGroup {
			kind, digits = v1alpha1.RecipientGroup, rest
		}
		id, err := strconv.ParseInt(digits, 10, 32)
		if err != nil || r.Spec.Allow == nil || !r.Spec.Allow.Has(kind, id) {
			ok = false
			continue
		}
		list = append(list, v1alpha1.Recipient{Type: kind, ID: uint32(id)})
	}
	slices.SortFunc(list, func(a, b v1alpha1.Recipient) int {
		return cmp.Or(strings.Compare(string(b.Type), string(a.Type)), cmp.Compare(a.ID, b.ID))
	})
	return slices.Compact(list), ok
}

// limitRecipients splits messages with more recipients than a message may have. Their hashes follow from the first one.
func limitRecipients(messages []Message) []Message {
	var all []Message
	for _, m := range messages {
		i := 0
		for to := range slices.Chunk(m.To, v1alpha1.MaxRecipients) {
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
// cluster send the same values for all of it.
func hashAlerts(r *v1alpha1.TeamTalkReceiver, groupKey, named string, alerts template.Alerts) string {
	lines := make([]string, len(alerts))
	for i, a := range alerts {
		id := a.Fingerprint
		if id == "" {
			id = fmt.Sprintf("%q", []template.Pair(a.Labels.SortedPairs()))
		}
		lines[i] = strings.Join([]string{id, a.Status, a.StartsAt.UTC().String()}, "\x00")
	}
	slices.Sort(lines)
	return Hash(append([]string{"alerts", r.Namespace, r.Name, groupKey, named}, slices.Compact(lines)...)...)
}

// Hash returns the first 80 bits of the fields' digest, in hexadecimal.
func Hash(fields ...string) string {
	digest := cipher.Digest(fields...)
	return hex.EncodeToString(digest[:10])
}
