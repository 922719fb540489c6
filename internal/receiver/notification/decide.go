// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/expression"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// alert is an alert of a notification, with the receiver's decisions about it.
type alert struct {
	template.Alert
	// to are the recipients that it names. If empty, they are those of spec.to.
	to []v1alpha1.Recipient
	// key identifies it instead of its fingerprint and start, if it has one.
	key   string
	keyed bool
}

// decide returns the alerts of a notification that must be sent.
func decide(ctx context.Context, r *v1alpha1.TeamTalkReceiver, n *template.Notification) ([]alert, Result) {
	var result Result
	alerts := make([]alert, 0, len(n.Alerts))
	add := func(a alert, named bool) {
		if !named {
			result.Refused++
		}
		alerts = append(alerts, a)
	}
	set, allow := expression.Of(r), allowed(r)
	if set.IsEmpty() {
		for _, a := range n.Alerts {
			to, ok := labelRecipients(r.Spec.ToLabel, allow, a.Labels)
			add(alert{Alert: a, to: to}, ok)
		}
		return alerts, result
	}
	whole, payloads := expression.Notification(n)
	e := set.Evaluate(ctx, whole)
	for i, a := range n.Alerts {
		own := alert{Alert: a}
		isKept, resolved := e.Keep(payloads[i]), a.Status == template.StatusResolved
		if isKept || resolved {
			own.key, own.keyed = e.Key(payloads[i])
		}
		if own.keyed && resolved {
			result.resolve(hashKeys(r, []string{own.key}))
		}
		if !isKept {
			result.Filtered++
			continue
		}
		to, ok := labelRecipients(r.Spec.ToLabel, allow, a.Labels)
		if r.Spec.Recipients != "" {
			to, ok = allow.among(e.Recipients(payloads[i]))
		}
		own.to = to
		add(own, ok)
	}
	result.Faults = e.Faults()
	return alerts, result
}

// whole returns the message for a body without alerts.
func whole(ctx context.Context, r *v1alpha1.TeamTalkReceiver, n *Notification) (result Result) {
	m := Message{Hash: Hash("body", r.Namespace, r.Name, n.Identity), To: r.Spec.To.All(), Body: n.Body}
	if set := expression.Of(r); !set.IsEmpty() {
		payload := expression.Body(n.payload())
		e := set.Evaluate(ctx, payload)
		key, isKeyed := "", false
		isKept, resolved := e.Keep(payload), isResolved(n.payload())
		if isKept || resolved {
			key, isKeyed = e.Key(payload)
		}
		if isKeyed && resolved {
			result.resolve(hashKeys(r, []string{key}))
		}
		if !isKept {
			result.Filtered, result.Faults = 1, e.Faults()
			return result
		}
		to, ok := allowed(r).among(e.Recipients(payload))
		if !ok {
			result.Refused++
		}
		named := ""
		if len(to) > 0 {
			m.To, named = to, identify(to)
		}
		id := []string{"body", n.Identity}
		if isKeyed {
			m.AlertKey, m.Resolved = hashKeys(r, []string{key}), resolved
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

// isResolved reports whether a body without alerts says that its problem is resolved.
func isResolved(payload any) bool {
	body, _ := payload.(map[string]any)
	status, _ := body["status"].(string)
	return strings.EqualFold(status, template.StatusResolved)
}

// labelRecipients returns the recipients that an alert names and spec.allow lists. Not ok: the label also names others.
// What is not an id is a name.
func labelRecipients(toLabel string, allow allowList, labels template.KV) (list []v1alpha1.Recipient, ok bool) {
	value := labels[toLabel]
	if toLabel == "" || value == "" {
		return nil, true
	}
	for name := range strings.SplitSeq(value, ",") {
		to := v1alpha1.Recipient{Type: v1alpha1.RecipientUser, Name: strings.TrimSpace(name)}
		if rest, isGroup := strings.CutPrefix(to.Name, "group:"); isGroup {
			to.Type, to.Name = v1alpha1.RecipientGroup, rest
		}
		if id, err := strconv.ParseInt(to.Name, 10, 32); err == nil && id > 0 {
			to.ID, to.Name = uint32(id), ""
		}
		list = append(list, to)
	}
	return allow.among(list)
}

// allowList has the recipients that may be named. A name is not the same as the id of who has it.
type allowList sets.Set[v1alpha1.Recipient]

// allowed returns the recipients of spec.allow.
func allowed(r *v1alpha1.TeamTalkReceiver) allowList {
	if r.Spec.Allow == nil {
		return nil
	}
	return allowList(sets.New(r.Spec.Allow.All()...))
}

// among returns the allowed recipients, each once. ok is false if there are others.
func (l allowList) among(named []v1alpha1.Recipient) (list []v1alpha1.Recipient, ok bool) {
	ok = true
	for _, to := range named {
		if _, listed := l[to]; !listed {
			ok = false
			continue
		}
		list = append(list, to)
	}
	slices.SortFunc(list, func(a, b v1alpha1.Recipient) int {
		return cmp.Or(strings.Compare(string(b.Type), string(a.Type)), cmp.Compare(a.ID, b.ID),
			strings.Compare(a.Name, b.Name))
	})
	return slices.Compact(list), ok
}

// identify returns a text for a list of recipients, which no other list has.
func identify(list []v1alpha1.Recipient) string {
	all := make([]string, len(list))
	for i, to := range list {
		if to.Resolved() {
			all[i] = fmt.Sprintf("{%s %d}", to.Type, to.ID)
		} else {
			all[i] = fmt.Sprintf("{%s %q}", to.Type, to.Name)
		}
	}
	return fmt.Sprint(all)
}
