// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// part is what becomes one message: alerts to the same recipients, or a body.
type part struct {
	// hash names what is notified: repeats of it have the same one.
	hash string
	to   []recipient
	// alerts is set with type Alertmanager, body with Generic.
	alerts *Notification
	body   any
}

// recipient is who gets a message.
type recipient struct {
	kind v1alpha1.RecipientType
	id   int64
}

// String is a recipient's name in states and names of objects: u2, g7.
func (r recipient) String() string {
	if r.kind == v1alpha1.RecipientGroup {
		return "g" + strconv.FormatInt(r.id, 10)
	}
	return "u" + strconv.FormatInt(r.id, 10)
}

// recipients lists a message's recipients.
func recipients(to v1alpha1.Recipients) []recipient {
	list := make([]recipient, 0, len(to.Users)+len(to.Groups))
	for _, id := range to.Users {
		list = append(list, recipient{v1alpha1.RecipientUser, int64(id)})
	}
	for _, id := range to.Groups {
		list = append(list, recipient{v1alpha1.RecipientGroup, int64(id)})
	}
	return list
}

// spec is recipients' inverse.
func spec(list []recipient) v1alpha1.Recipients {
	var to v1alpha1.Recipients
	for _, r := range list {
		if r.kind == v1alpha1.RecipientGroup {
			to.Groups = append(to.Groups, v1alpha1.GroupID(r.id))
		} else {
			to.Users = append(to.Users, v1alpha1.UserID(r.id))
		}
	}
	return to
}

// split makes the parts of a notification: by whom alerts name, and by groupBy.
// Refused counts alerts that name whom they may not, or what is no recipient.
func split(r *v1alpha1.TeamTalkReceiver, n *Notification) (parts []part, refused int) {
	type share struct {
		target string // of the label; empty: to
		to     []recipient
		alerts Alerts
	}
	shares := map[string]*share{}
	for _, a := range n.Alerts {
		named, ok := addressed(r, a.Labels)
		if !ok {
			refused++
		}
		target := join(named)
		key := []string{target}
		for _, label := range r.Spec.GroupBy {
			key = append(key, a.Labels[label])
		}
		id := fmt.Sprintf("%q", key)
		s := shares[id]
		if s == nil {
			s = &share{target: target, to: named}
			if len(named) == 0 {
				s.to = recipients(r.Spec.To)
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
			own.narrow()
		}
		parts = append(parts, part{hash: hashAlerts(r, n.GroupKey, s.target, s.alerts), to: s.to, alerts: &own})
	}
	return parts, refused
}

// narrow makes what speaks of all alerts speak of those that are there.
func (n *Notification) narrow() {
	n.Status = statusResolved
	if len(n.Alerts.Firing()) > 0 {
		n.Status = statusFiring
	}
	n.CommonLabels, n.CommonAnnotations = common(n.Alerts, func(a Alert) KV { return a.Labels }),
		common(n.Alerts, func(a Alert) KV { return a.Annotations })
}

func common(alerts Alerts, of func(Alert) KV) KV {
	all := KV{}
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
func addressed(r *v1alpha1.TeamTalkReceiver, labels KV) (list []recipient, ok bool) {
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
		list = append(list, recipient{kind, id})
	}
	slices.SortFunc(list, compare)
	return slices.Compact(list), ok
}

func compare(a, b recipient) int {
	return cmp.Or(strings.Compare(string(b.kind), string(a.kind)), cmp.Compare(a.id, b.id))
}

func join(list []recipient) string {
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = r.String()
	}
	return strings.Join(names, ",")
}

// hashAlerts names a set of alerts. An alert that is resolved, or fires again, is
// another one. Alertmanagers of a cluster agree on all that goes into it.
func hashAlerts(r *v1alpha1.TeamTalkReceiver, groupKey, target string, alerts Alerts) string {
	lines := make([]string, len(alerts))
	for i, a := range alerts {
		lines[i] = strings.Join([]string{a.identity(), a.Status, a.StartsAt.t.UTC().Format(time.RFC3339Nano)}, "\x00")
	}
	slices.Sort(lines)
	return hash(append([]string{"alerts", r.Namespace, r.Name, groupKey, target}, slices.Compact(lines)...)...)
}

// identity is the alert's fingerprint, or its labels where it bears none.
func (a Alert) identity() string {
	if a.Fingerprint != "" {
		return a.Fingerprint
	}
	return fmt.Sprintf("%q", a.Labels.SortedPairs())
}

// hash is 80 bits of SHA-256 over the fields, each preceded by its length.
func hash(fields ...string) string {
	h := sha256.New()
	for _, f := range fields {
		_ = binary.Write(h, binary.BigEndian, uint64(len(f))) // a hash never fails
		h.Write([]byte(f))
	}
	return hex.EncodeToString(h.Sum(nil)[:10])
}
