// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// setStatus computes the whole status from the scope. cause is the cause for which the message waits, or nil.
func setStatus(s *scope, cause *v1alpha1.Cause, now time.Time) {
	m, at := s.message, metav1.NewTime(now.Truncate(time.Second))
	staged := !s.tokens() // by the status as it was
	edited := s.startsOver()
	st := &m.Status
	o := overallOf(s, cause)
	s.closeRevision(at)
	if s.origin != originSuperseded {
		st.ObservedGeneration = m.Generation
	} else if o.finished && !s.isEscalation() {
		o = overall{Cause: v1alpha1.Cause{Reason: v1alpha1.ReasonSending, Message: "the next revision begins"}}
	}
	setRecipients(s, staged)
	if st.StartTime == nil || s.origin == originRetry {
		// A value that came with the message, or one that is handled now.
		st.LastHandledRetry = m.RetryValue()
	}
	st.Finished = o.finished
	if st.StartTime == nil || edited && !s.keepsContent {
		st.StartTime = new(metav1.NewTime(s.acceptedAt().Truncate(time.Second)))
	}
	switch {
	case !o.finished:
		st.CompletionTime = nil
	case st.CompletionTime == nil || edited:
		st.CompletionTime = &at
	}
	switch {
	case s.sender != 0:
		st.SenderID = new(v1alpha1.UserID(s.sender))
	case edited:
		st.SenderID = nil // it may be another one now
	}
	s.identifySegments()
	if st.Text = s.text; o.finished && st.NothingStored() {
		st.Text = nil
	}
	s.setRevision()
	st.ToSummary = summarizeRecipients(m.Spec.To)
	if o.finished && st.NothingStored() && isTooLarge(st) {
		// It fits even if the status with all recipients does not.
		st.Recipients = nil
		o.Reason, o.Message = v1alpha1.ReasonStatusTooLarge, msgStatusTooLarge
	}
	setConditions(m, o)
	if !s.isEscalation() {
		s.showEscalateTo()
		setRead(m, recordedMissed(m), now)
	}
}

// isTooLarge reports whether recipients were refused because the status may not fit.
func isTooLarge(st *v1alpha1.TeamTalkMessageStatus) bool {
	return slices.ContainsFunc(st.Recipients, func(r v1alpha1.RecipientStatus) bool {
		return r.Reason == v1alpha1.ReasonStatusTooLarge
	})
}

// setConditions writes the conditions. As kstatus expects, Reconciling and Stalled are present only while True.
func setConditions(m *v1alpha1.TeamTalkMessage, o overall) {
	conditions := &m.Status.Conditions
	set := func(condition string, is bool, reason string) {
		status := metav1.ConditionFalse
		if is {
			status = metav1.ConditionTrue
		}
		meta.SetStatusCondition(conditions, metav1.Condition{
			Type: condition, Status: status, Reason: reason, Message: o.Message,
			ObservedGeneration: m.Status.ObservedGeneration,
		})
	}
	setWhile := func(condition string, is bool) {
		if is {
			set(condition, true, o.Reason)
		} else {
			meta.RemoveStatusCondition(conditions, condition)
		}
	}
	deliveredReason := o.Reason
	if o.notRouted {
		deliveredReason = v1alpha1.ReasonStoredNotRouted
	}
	set(v1alpha1.ConditionReady, o.delivered || o.asDeclared(), o.Reason)
	set(v1alpha1.ConditionDelivered, o.delivered, deliveredReason)
	set(v1alpha1.ConditionFinished, o.finished, o.Reason)
	setWhile(v1alpha1.ConditionReconciling, !o.finished && !o.asDeclared())
	setWhile(v1alpha1.ConditionStalled, o.finished && !o.delivered)
}

// overall is the result of all recipients for the conditions.
type overall struct {
	v1alpha1.Cause
	// finished: nothing more is tried. delivered: every recipient has it; notRouted: some without a router.
	finished, delivered, notRouted bool
}

// asDeclared reports whether the message waits because its spec says so.
func (o overall) asDeclared() bool {
	return o.Reason == v1alpha1.ReasonScheduled || o.Reason == v1alpha1.ReasonSuspended
}

// overallOf computes the result of all recipients. cause is the cause for which the message waits, or nil.
func overallOf(s *scope, cause *v1alpha1.Cause) overall {
	var delivered, notRouted, failures int
	var failed, waiting *delivery.Progress
	for i := range s.recipients {
		switch p := &s.recipients[i]; {
		case p.Delivered():
			delivered++
			if p.Reason == v1alpha1.ReasonStoredNotRouted {
				notRouted++
			}
		case p.State == v1alpha1.StateFailed:
			failures++
			failed = cmp.Or(failed, p)
		case s.waitsAlone(p):
		case p.Reason != "" && p.Reason != v1alpha1.ReasonAdopted: // found, and not announced yet: it waits for nothing
			waiting = cmp.Or(waiting, p)
		}
	}
	switch all := len(s.recipients); {
	case delivered+failures == all:
		return finishedOf(all, delivered, notRouted, failed)
	case cause != nil && !s.running(): // until the delivery has stopped, it is no proof that nothing was sent
		return overall{Cause: *cause}
	case s.payloadPending != nil:
		return overall{Cause: *s.payloadPending}
	case waiting != nil:
		return overall{Cause: v1alpha1.Cause{Reason: waitingReason(waiting), Message: waiting.Message}}
	}
	return overall{Cause: v1alpha1.Cause{Reason: v1alpha1.ReasonSending, Message: "sending"}}
}

// setRecipients writes the recipients and their counts.
func setRecipients(s *scope, staged bool) {
	st := &s.message.Status
	st.Recipients = recipientStatuses(s.recipients, staged)
	if s.omitRecipients {
		st.Recipients = nil // they would take more memory than the rest of the message
	}
	counts, delivered, _ := count(s.recipients)
	st.Counts = &counts
	st.RecipientsSummary = fmt.Sprintf("%d/%d", delivered, len(st.Recipients))
}

func recipientStatuses(recipients []delivery.Progress, staged bool) []v1alpha1.RecipientStatus {
	statuses := make([]v1alpha1.RecipientStatus, len(recipients))
	for i, p := range recipients {
		statuses[i] = recipientStatus(p, staged)
	}
	return statuses
}

// count counts recipients by state. Superseded ones do not count as failed.
func count(recipients []delivery.Progress) (counts v1alpha1.RecipientCounts, delivered, superseded int) {
	counts.Recipients = int32(len(recipients))
	for _, p := range recipients {
		switch {
		case p.Reason == v1alpha1.ReasonSuperseded:
			superseded++
		case p.State == v1alpha1.StateRouted:
			counts.Routed++
			counts.Stored++
			if p.ReadBy > 0 {
				counts.Read++
			}
		case p.State == v1alpha1.StateStored:
			counts.Stored++
		case p.State == v1alpha1.StateFailed:
			counts.Failed++
		}
		if p.Delivered() {
			delivered++
		}
	}
	return counts, delivered, superseded
}

// finishedOf returns the outcome of a finished message. failed is the first recipient that failed.
func finishedOf(all, delivered, notRouted int, failed *delivery.Progress) overall {
	o := overall{finished: true, delivered: delivered == all, notRouted: delivered == all && notRouted > 0}
	switch {
	case o.notRouted:
		o.Reason = v1alpha1.ReasonDelivered
		o.Message = fmt.Sprintf("delivered to all %d recipients; %d will see it at their next sync, "+
			"as no router announced it", all, notRouted)
	case o.delivered:
		o.Reason, o.Message = v1alpha1.ReasonDelivered, "delivered to "+plural(all, "recipient")
	case delivered > 0:
		o.Reason = v1alpha1.ReasonPartiallyDelivered
		o.Message = fmt.Sprintf("delivered to %d of %s; first failure: %s",
			delivered, plural(all, "recipient"), failed.Message)
	case all > 1 && failed.Reason != v1alpha1.ReasonAlertResolved:
		o.Reason = failed.Reason
		o.Message = fmt.Sprintf("failed for all %s; first failure: %s", plural(all, "recipient"), failed.Message)
	default:
		o.Reason, o.Message = failed.Reason, failed.Message
	}
	return o
}

// waitingReason returns the reason for which a message waits: RetryScheduled for any failure that is retried.
func waitingReason(p *delivery.Progress) string {
	if p.State == v1alpha1.StatePending {
		switch p.Reason {
		case v1alpha1.ReasonStoreRejected, v1alpha1.ReasonNotStored, v1alpha1.ReasonNoAnswer:
			return v1alpha1.ReasonRetryScheduled
		}
	}
	return p.Reason
}

// recipientStatus is the inverse of progressOf. staged: with the time by which the message is found again.
func recipientStatus(p delivery.Progress, staged bool) v1alpha1.RecipientStatus {
	at := func(t time.Time) *metav1.Time {
		if t.IsZero() {
			return nil
		}
		return &metav1.Time{Time: t.Truncate(time.Second)}
	}
	r := v1alpha1.RecipientStatus{
		Type: p.Type, ID: int64(p.ID), State: p.State, Reason: p.Reason, Message: shorten(p.Message),
		Name: cmp.Or(p.ByName, p.Name), Ref: cmp.Or(p.ByRef, p.Ref), FormerMessageID: int64(p.FormerID),
		Attempts:     p.Attempts,
		InDoubtSince: at(p.DoubtSince), StoredAt: at(p.StoredAt), RoutedAt: at(p.RoutedAt),
		ReadAt: at(p.ReadAt), ReadBy: p.ReadBy,
	}
	for _, id := range p.Earlier {
		r.MessageIDs = append(r.MessageIDs, int64(id))
	}
	if p.MessageID != 0 {
		r.MessageIDs = append(r.MessageIDs, int64(p.MessageID))
	}
	if !p.Delivered() {
		r.EarlierReason, r.EarlierMessage = p.EarlierReason, shorten(p.EarlierMessage)
	}
	if staged && p.CreateTime != 0 {
		r.CreateTime = at(time.Unix(int64(p.CreateTime), 0))
	}
	return r
}

// shorten limits a message to the characters that the API allows.
func shorten(message string) string {
	if runes := []rune(message); len(runes) > v1alpha1.MaxRecipientMessage {
		return string(runes[:v1alpha1.MaxRecipientMessage-1]) + "…"
	}
	return message
}

// maxSummary is the longest summary of several recipients that names them, in characters: the columns of a message fit
// a terminal of 100.
const maxSummary = 21

// summarizeRecipients names the recipients, or counts them where they are many or their names are long.
func summarizeRecipients(to v1alpha1.Recipients) string {
	groupNames := slices.Clone(to.GroupNames)
	for _, ref := range to.GroupRefs {
		groupNames = append(groupNames, ref.Name)
	}
	summary := joinSummaries(
		summarizeEntries("user", 3, to.Users, to.UserNames), summarizeEntries("group", 3, to.Groups, groupNames))
	if to.Len() == 1 || utf8.RuneCountInString(summary) <= maxSummary {
		return summary
	}
	return joinSummaries(
		summarizeEntries("user", 0, to.Users, to.UserNames), summarizeEntries("group", 0, to.Groups, groupNames))
}

func joinSummaries(users, groups string) string {
	if users != "" && groups != "" {
		return users + "; " + groups
	}
	return users + groups
}

// summarizeEntries names the first entries, and counts the others.
func summarizeEntries[T v1alpha1.UserID | v1alpha1.GroupID](what string, named int, ids []T, names []string) string {
	var entries []string
	for _, id := range ids {
		entries = append(entries, fmt.Sprint(id))
	}
	entries = append(entries, names...)
	switch n := len(entries); {
	case n == 0:
		return ""
	case n > named:
		return plural(n, what)
	case n > 1:
		what += "s"
	}
	return what + " " + strings.Join(entries, ",")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
