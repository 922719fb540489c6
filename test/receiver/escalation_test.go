// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// escalates has the messages of a receiver escalated to the tenant's group.
func (x *tenant) escalates(seconds int32) receiverEdit {
	return func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.ReadPolicy = &v1alpha1.ReceiverReadPolicy{
			Quorum: new(int32(2)), DeadlineSeconds: &seconds,
			EscalateTo: &v1alpha1.NamedRecipients{Groups: []v1alpha1.GroupID{v1alpha1.GroupID(x.OnCall)}},
		}
	}
}

// awaitEscalated waits until the condition Escalated of a message has a reason.
func (x *tenant) awaitEscalated(name, reason string) {
	x.Helper()
	x.AwaitMessage(&v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(name)}, reason, func(m *v1alpha1.TeamTalkMessage) bool {
		c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionEscalated)
		return c != nil && c.Reason == reason && m.Status.Finished
	})
}

// TestEscalation: an alert that nobody reads goes to the group, in the receiver's language. What only tells that it is
// resolved does not.
func TestEscalation(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", x.escalates(1), func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Language = v1alpha1.LanguageChinese })
	url := x.url(world.shared, "alerts")
	message := x.awaitMessage(url, firing("DiskFull")).Messages[0]
	x.awaitEscalated(message, v1alpha1.ReasonDelivered)
	if got := x.awaitTexts(x.OnCall, 1)[0]; !strings.HasPrefix(got, "1 秒内未读：\n") || !strings.Contains(got, "DiskFull") {
		t.Errorf("the group got %q", got)
	}
	resolved := x.post(url, notification("resolved", alert("DiskFull", "resolved", noon))).Messages[0]
	m := x.AwaitDelivered(&v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(resolved)})
	if m.Spec.ReadPolicy == nil || m.Spec.ReadPolicy.EscalateTo != nil || *m.Spec.ReadPolicy.Quorum != 1 {
		t.Errorf("%+v", m.Spec.ReadPolicy)
	}
	x.awaitTexts(x.OnCall, 1)
}

// TestResolvedIsNotEscalated: an alert that is resolved before its deadline goes to nobody else, also where the
// notification that says so is dropped.
func TestResolvedIsNotEscalated(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	body := func(id, status string) string { return fmt.Sprintf(`{"id":%q,"status":%q}`, id, status) }
	byKey := func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.Type, r.Spec.DedupKey, r.Spec.Filter = v1alpha1.ReceiverGeneric, "payload.id", `payload.status != "resolved"`
	}
	alertsByKey := func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.DedupKey, r.Spec.Filter = "payload.labels.alertname", `payload.status == "firing"`
	}
	one := func(status, name string) string { return alert(name, status, noon) }
	for name, tc := range map[string]struct {
		edit receiverEdit
		// fires and resolved are bodies; still does not resolve what fires.
		fires, still, resolved string
	}{
		"by-group": {
			func(*v1alpha1.TeamTalkReceiver) {}, firing("A"), notification("firing", one("firing", "A"), one("resolved", "B")),
			notification("resolved", one("resolved", "A"), one("resolved", "B")),
		},
		"filtered": {
			func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Filter = `payload.status == "firing"` }, firing("A"),
			notification("firing", one("firing", "B")), notification("resolved", one("resolved", "A")),
		},
		"alerts-by-key": {
			alertsByKey, firing("A"), notification("firing", one("firing", "C"), one("resolved", "B")),
			notification("firing", one("firing", "B"), one("resolved", "A")),
		},
		"alerts-by-key-all-sent": {
			func(r *v1alpha1.TeamTalkReceiver) { r.Spec.DedupKey = "payload.labels.alertname" }, firing("A"),
			notification("firing", one("firing", "A"), one("resolved", "B")),
			notification("firing", one("firing", "B"), one("resolved", "A")),
		},
		"by-key": {byKey, body("1", "firing"), body("2", "resolved"), body("1", "Resolved")},
	} {
		t.Run(name, func(t *testing.T) {
			x.receiver(name, x.escalates(3600), tc.edit)
			url := x.url(world.shared, name)
			message := &v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(x.awaitMessage(url, tc.fires).Messages[0])}
			x.AwaitDelivered(message)
			x.post(url, tc.still)
			if x.Get(message); message.Annotations[v1alpha1.ResolvedAnnotation] != "" {
				t.Errorf("resolved by %s", tc.still)
			}
			if answer := x.post(url, tc.resolved); answer.Code != 200 {
				t.Errorf("%+v", answer)
			}
			if x.Get(message); message.Annotations[v1alpha1.ResolvedAnnotation] == "" {
				t.Fatalf("%+v", message.ObjectMeta)
			}
			x.Patch(message, `{"spec":{"readPolicy":{"deadlineSeconds":1}}}`)
			x.awaitEscalated(message.Name, v1alpha1.ReasonAlertResolved)
		})
	}
	for _, m := range x.Messages() {
		if m.Status.Escalated() {
			t.Errorf("%s: %+v", m.Name, m.Status.Escalation)
		}
	}
	x.awaitTexts(x.OnCall, 0)
}

// TestADigestIsEscalated: a digest that nobody reads goes to the group, though its alerts are resolved.
func TestADigestIsEscalated(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", x.escalates(3600), x.hourly(1))
	url := x.url(world.shared, "alerts")
	first := &v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(x.awaitMessage(url, firing("First")).Messages[0])}
	resolved := notification("resolved", alert("First", "resolved", noon), alert("Second", "resolved", noon))
	for _, body := range []string{firing("Second"), resolved} {
		if answer := x.post(url, body); answer.Suppressed != 1 {
			t.Fatalf("%+v", answer)
		}
	}
	x.AwaitDelivered(first)
	digests, _ := x.digests("alerts")
	if len(digests) != 1 {
		t.Fatalf("%+v", digests)
	}
	x.Patch(&digests[0], `{"spec":{"sendAfter":null,"readPolicy":{"deadlineSeconds":1}}}`) // not at the end of the hour
	x.awaitEscalated(digests[0].Name, v1alpha1.ReasonDelivered)
	got := x.awaitTexts(x.OnCall, 1)[0]
	if !strings.HasPrefix(got, "Not read within 1 second:\n📦 2 more within 3600 s\n") || !strings.Contains(got, "Second") {
		t.Errorf("the group got %q", got)
	}
	if x.Get(first); first.Annotations[v1alpha1.ResolvedAnnotation] == "" {
		t.Errorf("not resolved: %+v", first.ObjectMeta)
	}
}

// TestFiresAgain: an alert that was resolved and fires again is another message, which can be escalated, though its key
// is the same.
func TestFiresAgain(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", x.escalates(3600), func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.DedupKey, r.Spec.Filter = "payload.labels.alertname", `payload.status == "firing"`
	})
	url := x.url(world.shared, "alerts")
	first := x.awaitMessage(url, firing("A")).Messages[0]
	if answer := x.post(url, firing("A")); answer.Duplicates != 1 {
		t.Errorf("repeated: %+v", answer)
	}
	x.post(url, notification("resolved", alert("A", "resolved", noon)))
	second := x.awaitMessage(url, firing("A")).Messages[0]
	if answer := x.post(url, firing("A")); answer.Duplicates != 1 {
		t.Errorf("repeated again: %+v", answer)
	}
	for name, want := range map[string]bool{first: true, second: false} {
		m := &v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(name)}
		if x.Get(m); (m.Annotations[v1alpha1.ResolvedAnnotation] != "") != want {
			t.Errorf("%s: %+v", name, m.Annotations)
		}
	}
}
