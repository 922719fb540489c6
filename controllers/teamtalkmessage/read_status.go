// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// readState is how far the recipients of a message that were routed have read it.
type readState struct {
	routed, read, needed int32
}

// readStateOf counts the recipients in the status. All that were routed must read the message, or the quorum.
func readStateOf(m *v1alpha1.TeamTalkMessage) (s readState) {
	for _, r := range m.Status.Recipients {
		if r.State != v1alpha1.StateRouted {
			continue
		}
		s.routed++
		if r.ReadBy > 0 {
			s.read++
		}
	}
	s.needed = max(s.routed, 1)
	if p := m.Spec.ReadPolicy; p != nil && p.Quorum != nil {
		s.needed = *p.Quorum
	}
	return s
}

// isRead reports whether enough recipients have read the message.
func (s readState) isRead() bool { return s.read >= s.needed }

// String says it in words.
func (s readState) String() string {
	text := fmt.Sprintf("read by %d of %s", s.read, plural(int(s.routed), "routed recipient"))
	if s.needed != s.routed {
		text += fmt.Sprintf(", the quorum is %d", s.needed)
	}
	return text
}

// missedSeparator is before what the condition Read says about reads that may have been missed.
const missedSeparator = "; "

// recordedMissed returns what the condition Read says about reads that may have been missed; "": nothing.
func recordedMissed(m *v1alpha1.TeamTalkMessage) string {
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead)
	if c == nil || !showsMissed(c.Reason) {
		return ""
	}
	_, missed, _ := strings.Cut(c.Message, missedSeparator)
	return missed
}

// showsMissed reports whether the condition Read, with the reason, tells which reads may have been missed.
func showsMissed(reason string) bool {
	switch reason {
	case v1alpha1.ReasonReadsMissed, v1alpha1.ReasonReadDeadlineExceeded, v1alpha1.ReasonSuspended:
		return true
	}
	return false
}

// isReadSuspended reports whether the status shows that the deadline of a readPolicy has passed during a suspension.
func isReadSuspended(m *v1alpha1.TeamTalkMessage) bool {
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead)
	return c != nil && c.Reason == v1alpha1.ReasonSuspended
}

// isReadOver reports whether reads of a message with a readPolicy do not count any more. While its escalation is
// suspended, they do: if it is read then, it need not be escalated.
func isReadOver(m *v1alpha1.TeamTalkMessage, now time.Time) bool {
	return !now.Before(m.ReadDeadline()) && !isEscalationSuspended(m)
}

// setRead computes what the status shows of who has read a message, and whether it is settled. It begins
// the escalation. missed tells which reads may have been missed; "": none.
func setRead(m *v1alpha1.TeamTalkMessage, missed string, now time.Time) {
	st := &m.Status
	s := readStateOf(m)
	if st.ReadSummary = ""; st.Finished && s.routed > 0 {
		st.ReadSummary = fmt.Sprintf("%d/%d", s.read, s.routed)
	}
	if status, reason := decideRead(m, s, missed != "", now); reason == "" {
		meta.RemoveStatusCondition(&st.Conditions, v1alpha1.ConditionRead)
	} else {
		message := s.String()
		if missed != "" && showsMissed(reason) {
			message += missedSeparator + missed
		}
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionRead, Status: status, Reason: reason, Message: message,
			ObservedGeneration: st.ObservedGeneration,
		})
	}
	beginEscalation(m, now)
	if !st.Escalated() && (isResolved(m) || meta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionRead)) {
		st.Escalation = nil // nobody waits for it
	}
	st.Settled = st.Finished && !m.NeedsAttention()
}

// decideRead returns the condition Read; without a reason, there is none.
func decideRead(m *v1alpha1.TeamTalkMessage, s readState, missed bool, now time.Time) (metav1.ConditionStatus, string) {
	switch {
	case !m.Status.Finished:
		return "", ""
	case s.isRead():
		return metav1.ConditionTrue, v1alpha1.ReasonRead
	case m.Spec.ReadPolicy == nil:
		return "", "" // who has read it later is not known
	case s.routed < s.needed:
		return metav1.ConditionFalse, v1alpha1.ReasonNotRouted
	case isReadOver(m, now):
		return metav1.ConditionFalse, v1alpha1.ReasonReadDeadlineExceeded
	case !now.Before(m.ReadDeadline()) && missed:
		return metav1.ConditionUnknown, v1alpha1.ReasonSuspended
	case !now.Before(m.ReadDeadline()):
		return metav1.ConditionFalse, v1alpha1.ReasonSuspended
	case missed:
		return metav1.ConditionUnknown, v1alpha1.ReasonReadsMissed
	}
	return metav1.ConditionFalse, v1alpha1.ReasonUnread
}

// readDecision returns the reason of the condition Read once a readPolicy is not due any more; "": it is, or there is
// none.
func readDecision(m *v1alpha1.TeamTalkMessage) string {
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead)
	if c == nil || m.Spec.ReadPolicy == nil || m.ReadDue() {
		return ""
	}
	return c.Reason
}

// reportRead reports a status write to the observer if a readPolicy is decided with it.
func (r *Reconciler) reportRead(before, after *v1alpha1.TeamTalkMessage) {
	reason := readDecision(after)
	if reason == "" || reason == readDecision(before) || r.OnReadDecided == nil {
		return
	}
	server := after.ServerKey()
	if _, ok := r.Sessions.Get(server); !ok {
		server = types.NamespacedName{}
	}
	r.OnReadDecided(server, reason)
}

// readEvent tells that the deadline of a readPolicy has passed.
func readEvent(before, after *v1alpha1.TeamTalkMessage) statusEvent {
	exceeded := func(m *v1alpha1.TeamTalkMessage) *metav1.Condition {
		c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead)
		if c == nil || c.Reason != v1alpha1.ReasonReadDeadlineExceeded {
			return nil
		}
		return c
	}
	is := exceeded(after)
	if is == nil || exceeded(before) != nil {
		return statusEvent{}
	}
	return statusEvent{corev1.EventTypeWarning, is.Reason, is.Message}
}
