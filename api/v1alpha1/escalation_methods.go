// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// escalationSuffix ends the key and the UID of an escalation. Neither a name nor a UID contains a slash.
const escalationSuffix = "/escalation"

// Escalated reports whether an escalation has begun.
func (s *TeamTalkMessageStatus) Escalated() bool {
	return s.Escalation != nil && s.Escalation.StartTime != nil
}

// Escalating reports whether an escalation has begun and has not ended.
func (m *TeamTalkMessage) Escalating() bool {
	return m.Status.Escalated() && m.Status.Escalation.CompletionTime == nil
}

// EscalateTo returns the recipients that a message is escalated to. It has none if it is not escalated.
func (m *TeamTalkMessage) EscalateTo() Recipients {
	if m.Spec.ReadPolicy == nil || m.Spec.ReadPolicy.EscalateTo == nil {
		return Recipients{}
	}
	return *m.Spec.ReadPolicy.EscalateTo
}

// EscalationKey returns the key under which the escalation of a message is reconciled. No message has this key.
func EscalationKey(message types.NamespacedName) types.NamespacedName {
	message.Name += escalationSuffix
	return message
}

// EscalationOf returns the message whose escalation has the key. It returns false for the key of a message.
func EscalationOf(key types.NamespacedName) (message types.NamespacedName, ok bool) {
	key.Name, ok = strings.CutSuffix(key.Name, escalationSuffix)
	return key, ok
}

// Escalation returns the escalation of a message as a separate message, with the escalation's key, recipients and
// status. Its creation time is when the escalation began. Its only deadline is activeDeadlineSeconds. It is not part of
// the API.
func (m *TeamTalkMessage) Escalation() *TeamTalkMessage {
	e := m.DeepCopy()
	e.Name, e.UID = e.Name+escalationSuffix, e.UID+escalationSuffix
	e.Spec.SendAfter, e.Spec.Deadline, e.Spec.ReadPolicy, e.Spec.OnChange = nil, nil, nil, ""
	if !m.MayBeRepeated() {
		e.Spec.IdempotencyKey, e.Spec.TTLSecondsAfterFinished = "", nil
	}
	e.Spec.To = m.EscalateTo()
	e.Status = TeamTalkMessageStatus{ObservedGeneration: m.Generation, SenderID: e.Status.SenderID}
	recorded := m.Status.Escalation.DeepCopy()
	if recorded == nil {
		return e
	}
	e.Status.Counts, e.Status.Recipients, e.Status.Text = recorded.Counts, recorded.Recipients, recorded.Text
	e.Status.StartTime, e.Status.CompletionTime = recorded.StartTime, recorded.CompletionTime
	if e.Status.Finished = recorded.CompletionTime != nil; recorded.StartTime == nil {
		return e
	}
	e.CreationTimestamp = *recorded.StartTime
	if len(recorded.Recipients) > 0 {
		e.Spec.To = entriesOf(recorded.Recipients) // edits of escalateTo have no effect any more
	}
	if c := meta.FindStatusCondition(m.Status.Conditions, ConditionEscalated); c != nil {
		ready := *c
		ready.Type = ConditionReady
		e.Status.Conditions = []metav1.Condition{ready}
	}
	return e
}

// entriesOf returns the entries that name the recipients.
func entriesOf(recipients []RecipientStatus) (to Recipients) {
	for _, r := range recipients {
		switch isGroup := r.Type == RecipientGroup; {
		case r.Ref != "":
			to.GroupRefs = append(to.GroupRefs, GroupReference{Name: r.Ref})
		case r.Name != "" && isGroup:
			to.GroupNames = append(to.GroupNames, r.Name)
		case r.Name != "":
			to.UserNames = append(to.UserNames, r.Name)
		case isGroup:
			to.Groups = append(to.Groups, GroupID(r.ID))
		default:
			to.Users = append(to.Users, UserID(r.ID))
		}
	}
	return to
}
