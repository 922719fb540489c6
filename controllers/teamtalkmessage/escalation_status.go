// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/content"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// showEscalateTo has the status show who is in escalateTo, until the escalation begins. A retry of the message then
// also retries what failed of the escalation.
func (s *scope) showEscalateTo() {
	m := s.message
	to := m.EscalateTo()
	switch {
	case m.Status.Escalated():
		if s.origin == originRetry {
			retryEscalation(m)
		}
		return
	case s.omitRecipients, to.Len() == 0, len(m.Status.Recipients) == 0: // or its status is too large
		m.Status.Escalation = nil
	default:
		if s.escalateTo == nil {
			s.escalateTo = escalationRecipients(m)
		}
		counts, _, _ := count(s.escalateTo)
		m.Status.Escalation = &v1alpha1.EscalationStatus{Recipients: recipientStatuses(s.escalateTo, false), Counts: &counts}
	}
	if !isResolved(m) || s.origin == originRevision {
		meta.RemoveStatusCondition(&m.Status.Conditions, v1alpha1.ConditionEscalated)
	}
}

// beginEscalation begins the escalation of a message that was not read, once for each revision. The status is written
// before anything is sent.
func beginEscalation(m *v1alpha1.TeamTalkMessage, now time.Time) {
	st, to, reason := &m.Status, m.EscalateTo(), escalationReason(m)
	if isTooLarge := len(st.Recipients) == 0; isTooLarge || st.Escalated() || to.Len() == 0 || reason == "" {
		return
	}
	if isStopped(m) || isResolved(m) {
		setEscalated(m, metav1.ConditionFalse, v1alpha1.Cause{
			Reason: v1alpha1.ReasonAlertResolved, Message: "not escalated: the alerts were resolved before",
		})
		return
	}
	recipients := escalationRecipients(m)
	for i, p := range recipients {
		if !p.Resolved() { // it is looked up again
			recipients[i] = delivery.Progress{Recipient: p.Recipient, State: v1alpha1.StatePending}
		}
	}
	counts, _, _ := count(recipients)
	isDelivered := reason == v1alpha1.ReasonReadDeadlineExceeded
	st.Escalation = &v1alpha1.EscalationStatus{
		StartTime: new(metav1.NewTime(now.Truncate(time.Second))), Reason: reason,
		FirstLine:  content.FirstLine(m.Spec.Language, isDelivered, m.Spec.ReadPolicy.Deadline()),
		Recipients: recipientStatuses(recipients, false), Counts: &counts,
	}
	setEscalated(m, metav1.ConditionFalse, escalationBegins)
}

// isResolved reports whether the status shows that the alerts of a message were resolved in time.
func isResolved(m *v1alpha1.TeamTalkMessage) bool {
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionEscalated)
	return c != nil && c.Reason == v1alpha1.ReasonAlertResolved
}

// isEscalationSuspended reports whether the escalation of a message must not begin, because the message is suspended.
func isEscalationSuspended(m *v1alpha1.TeamTalkMessage) bool {
	to := m.EscalateTo()
	return m.Suspended() && to.Len() > 0 && !m.Status.Escalated() && !isStopped(m) && !isResolved(m)
}

// isStopped reports whether the alerts of a message were resolved. What was not sent of its escalation is not sent any
// more.
func isStopped(m *v1alpha1.TeamTalkMessage) bool {
	return m.Annotations[v1alpha1.ResolvedAnnotation] != ""
}

const msgAlertResolved = "the alerts were resolved before it was sent"

var escalationBegins = v1alpha1.Cause{Reason: v1alpha1.ReasonSending, Message: "sending"}

// escalationReason returns why a message is to be escalated; "": it is not. If it was routed to fewer recipients than
// must read it, nobody need wait for the deadline. Reads that may have been missed are no reads: one message too many
// is better than none.
func escalationReason(m *v1alpha1.TeamTalkMessage) string {
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead)
	if c == nil || !m.Status.Finished || !m.DeletionTimestamp.IsZero() {
		return ""
	}
	switch c.Reason {
	case v1alpha1.ReasonReadDeadlineExceeded:
		return c.Reason
	case v1alpha1.ReasonNotRouted:
		// Under its key, it would take the place of the escalation of the message that was first.
		if !slices.ContainsFunc(m.Status.Recipients, isKeyReused) {
			return c.Reason
		}
	}
	return ""
}

func isKeyReused(r v1alpha1.RecipientStatus) bool { return r.Reason == v1alpha1.ReasonKeyReused }

func setEscalated(m *v1alpha1.TeamTalkMessage, status metav1.ConditionStatus, cause v1alpha1.Cause) {
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionEscalated, Status: status, Reason: cause.Reason, Message: cause.Message,
		ObservedGeneration: max(0, m.Status.ObservedGeneration),
	})
}

// escalationRecipients returns the recipients in escalateTo before anything is sent to them. What the status shows of
// their names is kept.
func escalationRecipients(m *v1alpha1.TeamTalkMessage) (recipients []delivery.Progress) {
	to, added := m.EscalateTo(), map[v1alpha1.Recipient]bool{}
	for _, r := range to.All() {
		p := lookedUp(m.Status.Escalation, r)
		if !added[p.Recipient] {
			added[p.Recipient] = true
			recipients = append(recipients, p)
		}
	}
	return recipients
}

// lookedUp returns what is known of an entry of escalateTo.
func lookedUp(e *v1alpha1.EscalationStatus, r v1alpha1.Recipient) delivery.Progress {
	unknown := delivery.Progress{Recipient: r, State: v1alpha1.StatePending}
	if e == nil {
		return unknown
	}
	for _, recorded := range e.Recipients {
		p := progressOf(recorded.Recipient(), recorded)
		isFound := p.Resolved() && p.Type == r.Type &&
			(p.ID == r.ID || r.Name != "" && p.ByName == r.Name || r.Ref != "" && p.ByRef == r.Ref)
		switch {
		case isFound:
			return delivery.Progress{
				Recipient: p.Recipient, ByName: p.ByName, ByRef: p.ByRef, State: v1alpha1.StatePending,
			}
		case p.Recipient == r && !isSuperseded(recorded):
			return p
		}
	}
	return unknown
}

// applyEscalation takes the status of the escalation e into that of its message.
func applyEscalation(m, e *v1alpha1.TeamTalkMessage) {
	st := m.Status.Escalation
	st.Counts, st.Recipients, st.Text = e.Status.Counts, e.Status.Recipients, e.Status.Text
	st.CompletionTime = e.Status.CompletionTime
	if m.Status.SenderID == nil {
		m.Status.SenderID = e.Status.SenderID
	}
	delivered := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionDelivered)
	ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionReady)
	setEscalated(m, delivered.Status, v1alpha1.Cause{Reason: ready.Reason, Message: ready.Message})
	m.Status.Settled = m.Status.Finished && !m.NeedsAttention()
}

// retryEscalation has what failed of an escalation with nothing stored tried again.
func retryEscalation(m *v1alpha1.TeamTalkMessage) {
	st := &m.Status
	if !st.Escalated() || st.Escalation.CompletionTime == nil {
		return
	}
	isRetried := false
	if len(st.Escalation.Recipients) == 0 { // it was too large for its status
		recipients := escalationRecipients(m)
		counts, _, _ := count(recipients)
		st.Escalation.Recipients, st.Escalation.Counts = recipientStatuses(recipients, false), &counts
		isRetried = len(recipients) > 0
	}
	for i := range st.Escalation.Recipients {
		r := &st.Escalation.Recipients[i]
		if !r.Retryable() {
			continue
		}
		p := progressOf(r.Recipient(), *r)
		*r, isRetried = recipientStatus(againFrom(p), false), true
	}
	if isRetried {
		st.Escalation.CompletionTime = nil
		setEscalated(m, metav1.ConditionFalse, escalationBegins)
	}
}

// escalationEvent tells that an escalation begins.
func escalationEvent(m *v1alpha1.TeamTalkMessage) statusEvent {
	e := m.Status.Escalation
	why := "not enough recipients have read it in time"
	if e.Reason == v1alpha1.ReasonNotRouted {
		why = "it did not reach all who must read it"
	}
	return statusEvent{corev1.EventTypeNormal, v1alpha1.ReasonEscalated, fmt.Sprintf(
		"%s: escalated to %s", why, plural(len(e.Recipients), "recipient"))}
}
