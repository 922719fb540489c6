// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/expression"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// alert is one of a notification, with what the receiver decides about it.
type alert struct {
	template.Alert
	// to are the recipients that it names; none: spec.to.
	to []v1alpha1.Recipient
	// key is what identifies it instead of its fingerprint and start, if it is keyed.
	key   string
	keyed bool
}

// decide returns the alerts of a notification that are to be sent.
func decide(ctx context.Context, r *v1alpha1.TeamTalkReceiver, n *template.Notification) ([]alert, Result) {
	var result Result
	alerts := make([]alert, 0, len(n.Alerts))
	add := func(a alert, named bool) {
		if !named {
			result.Refused++
		}
		alerts = append(alerts, a)
	}
	set := expression.Of(r)
	if set.IsEmpty() {
		for _, a := range n.Alerts {
			to, ok := labelRecipients(r, a.Labels)
			add(alert{Alert: a, to: to}, ok)
		}
		return alerts, result
	}
	whole, payloads := expression.Notification(n)
	e := set.Evaluate(ctx, whole)
	for i, a := range n.Alerts {
		if !e.Keep(payloads[i]) {
			result.Filtered++
			continue
		}
		own := alert{Alert: a}
		own.key, own.keyed = e.Key(payloads[i])
		to, ok := labelRecipients(r, a.Labels)
		if r.Spec.Recipients != "" {
			to, ok = allowed(r, e.Recipients(payloads[i]))
		}
		own.to = to
		add(own, ok)
	}
	result.Faults = e.Faults()
	return alerts, result
}

// whole returns what becomes of a body without alerts.
func whole(ctx context.Context, r *v1alpha1.TeamTalkReceiver, n *Notification) (result Result) {
	m := Message{Hash: Hash("body", r.Namespace, r.Name, n.Identity), To: r.Spec.To.All(), Body: n.Body}
	if set := expression.Of(r); !set.IsEmpty() {
		payload := expression.Body(n.payload())
		e := set.Evaluate(ctx, payload)
		if !e.Keep(payload) {
			return Result{Filtered: 1, Faults: e.Faults()}
		}
		to, ok := allowed(r, e.Recipients(payload))
		if !ok {
			result.Refused++
		}
		named := ""
		if len(to) > 0 {
			m.To, named = to, fmt.Sprint(to)
		}
		id := []string{"body", n.Identity}
		if key, ok := e.Key(payload); ok {
			m.Keys, id = []string{key}, []string{"key", key}
		}
		if named != "" || len(m.Keys) > 0 {
			m.Hash = Hash(append(id, r.Namespace, r.Name, named)...)
		}
		result.Faults = e.Faults()
	}
	result.Messages = []Message{m}
	return result
}

// labelRecipients returns the recipients that an alert names and spec.allow lists. Not ok: the label also names others,
// or something that is not an id.
func labelRecipients(r *v1alpha1.TeamTalkReceiver, labels template.KV) (list []v1alpha1.Recipient, ok bool) {
	value := labels[r.Spec.ToLabel]
	if r.Spec.ToLabel == "" || value == "" {
		return nil, true
	}
	valid := true
	for name := range strings.SplitSeq(value, ",") {
		kind, digits := v1alpha1.RecipientUser, strings.TrimSpace(name)
		if rest, isGroup := strings.CutPrefix(digits, "group:"); isGroup {
			kind, digits = v1alpha1.RecipientGroup, rest
		}
		id, err := strconv.ParseInt(digits, 10, 32)
		if err != nil || id < 1 {
			valid = false
			continue
		}
		list = append(list, v1alpha1.Recipient{Type: kind, ID: uint32(id)})
	}
	list, ok = allowed(r, list)
	return list, ok && valid
}

// allowed returns those recipients that spec.allow lists, each once. Not ok: there are others.
func allowed(r *v1alpha1.TeamTalkReceiver, named []v1alpha1.Recipient) (list []v1alpha1.Recipient, ok bool) {
	ok = true
	for _, to := range named {
		if r.Spec.Allow == nil || !r.Spec.Allow.Has(to.Type, int64(to.ID)) {
			ok = false
			continue
		}
		list = append(list, to)
	}
	slices.SortFunc(list, func(a, b v1alpha1.Recipient) int {
		return cmp.Or(strings.Compare(string(b.Type), string(a.Type)), cmp.Compare(a.ID, b.ID))
	})
	return slices.Compact(list), ok
}
