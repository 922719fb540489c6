// SPDX-License-Identifier: Apache-2.0

package receiver

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

// part is what becomes one message: alerts to the same recipients, or a body.
type part struct {
	// hash names what is notified: repeats of it have the same one.
	hash string
	to   []v1alpha1.Recipient
	// alerts is set with type Alertmanager, body with Generic.
	alerts *template.Notification
	body   any
}

// recipientSet is the inverse of v1alpha1.Recipients.All.
func recipientSet(list []v1alpha1.Recipient) v1alpha1.Recipients {
	var to v1alpha1.Recipients
	for _, r := range list {
		if r.Type == v1alpha1.RecipientGroup {
			to.Groups = append(to.Groups, v1alpha1.GroupID(r.ID))
		} else {
			to.Users = append(to.Users, v1alpha1.UserID(r.ID))
		}
	}
	return to
}

// split makes the parts of a notification: by whom alerts name, and by groupBy.
// Refused counts alerts that name whom they may not, or what is no recipient.
func split(r *v1alpha1.TeamTalkReceiver, n *template.Notification) (parts []part, refused int) {
	type share struct {
		target string // of the label; empty: to
		to     []v1alpha1.Recipient
		alerts template.Alerts
	}
	shares := map[string]*share{}
	for _, a := range n.Alerts {
		named, ok := addressed(r, a.Labels)
		if !ok {
			refused++
		}
		target := ""
		if len(named) > 0 {
			target = fmt.Sprint(named)
		}
		key := []string{target}
		for _, label := range r.Spec.GroupBy {
			key = append(key, a.Labels[label])
		}
		id := fmt.Sprintf("%q", key)
		s := shares[id]
		if s == nil {
			s = &share{target: target, to: named}
			if len(named) == 0 {
				s.to = r.Spec.To.All()
			}
			shares[id] = s
		}
		s.alerts = append(s.alerts, a)
	}
	for i, id := range slices.Sorted(maps.Keys(shares)) {
		s := shares[id]
		own := *n
		own.Alerts = s.alerts
		if i > 0 {
			// Whose they would have been is not known: the first part, which is that of
			// to if there is one, speaks of them for all.
			own.TruncatedAlerts = 0
		}
		if len(shares) > 1 {
			narrow(&own)
		}
		parts = append(parts, part{hash: hashAlerts(r, n.GroupKey, s.target, s.alerts), to: s.to, alerts: &own})
	}
	return parts, refused
}

// narrow makes what speaks of all alerts speak of those that are there.
func narrow(n *template.Notification) {
	n.Status = template.StatusResolved
	if len(n.Alerts.Firing()) > 0 {
		n.Status = template.StatusFiring
	}
	n.CommonLabels, n.CommonAnnotations = common(n.Alerts, func(a template.Alert) template.KV { return a.Labels }),
		common(n.Alerts, func(a template.Alert) template.KV { return a.Annotations })
}

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

// addressed returns whom an alert names, of those that it may. It is not ok if the
// label also names others, or what is no recipient.
func addressed(r *v1alpha1.TeamTalkReceiver, labels template.KV) (list []v1alpha1.Recipient, ok bool) {
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
	slices.SortFunc(list, compare)
	return slices.Compact(list), ok
}

func compare(a, b v1alpha1.Recipient) int {
	return cmp.Or(strings.Compare(string(b.Type), string(a.Type)), cmp.Compare(a.ID, b.ID))
}

// hashAlerts names a set of alerts. An alert that is resolved, or fires again, is
// another one. Alertmanagers of a cluster agree on all that goes into it.
func hashAlerts(r *v1alpha1.TeamTalkReceiver, groupKey, target string, alerts template.Alerts) string {
	lines := make([]string, len(alerts))
	for i, a := range alerts {
		lines[i] = strings.Join([]string{identity(a), a.Status, a.StartsAt.UTC().String()}, "\x00")
	}
	slices.Sort(lines)
	return hash(append([]string{"alerts", r.Namespace, r.Name, groupKey, target}, slices.Compact(lines)...)...)
}

// identity is the alert's fingerprint, or its labels where it bears none.
func identity(a template.Alert) string {
	if a.Fingerprint != "" {
		return a.Fingerprint
	}
	return fmt.Sprintf("%q", []template.Pair(a.Labels.SortedPairs()))
}

// hash is the first 80 bits of the fields' digest, in hexadecimal.
func hash(fields ...string) string {
	digest := cipher.Digest(fields...)
	return hex.EncodeToString(digest[:10])
}
