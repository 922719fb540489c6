package teamtalkmessage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// verdict is a message's state in the words of its conditions.
type verdict struct {
	reason, message string
	// finished: nothing more is tried. delivered: every recipient has it. onPurpose:
	// it waits as declared.
	finished, delivered, onPurpose bool
	// deliveredReason is the Delivered condition's, where it differs.
	deliveredReason string
}

// setStatus computes the whole status from what is known: it is the one place
// that does.
func setStatus(s *scope, now time.Time) {
	m, at := s.message, metav1.NewTime(now.Truncate(time.Second))
	staged := !s.tokens() // by the status as it was
	st := &m.Status
	v := judge(s)
	st.ObservedGeneration = m.Generation
	if st.StartTime == nil || s.retry {
		// A value that came with the message, or that is acted upon now.
		st.LastHandledRetry = m.Annotations[v1alpha1.RetryAnnotation]
	}
	if st.StartTime == nil || s.restart {
		st.StartTime = &at
	}
	switch {
	case !v.finished:
		st.CompletionTime = nil
	case st.CompletionTime == nil || s.restart:
		st.CompletionTime = &at
	}
	if s.restart {
		st.SenderID = nil // it may be another one now
	}
	if s.sender != 0 {
		sender := v1alpha1.UserID(s.sender)
		st.SenderID = &sender
	}
	st.Split = s.split
	st.ToSummary = summarize(m.Spec.To)
	st.Recipients = make([]v1alpha1.RecipientStatus, len(s.recipients))
	var delivered int32
	counts := v1alpha1.RecipientCounts{Recipients: int32(len(s.recipients))}
	for i, p := range s.recipients {
		st.Recipients[i] = statusOf(p, staged)
		switch p.State {
		case v1alpha1.StateRouted:
			counts.Routed++
			counts.Stored++
		case v1alpha1.StateStored:
			counts.Stored++
		case v1alpha1.StateFailed:
			counts.Failed++
		}
		if p.Delivered() {
			delivered++
		}
	}
	st.Counts = &counts
	st.RecipientsSummary = fmt.Sprintf("%d/%d", delivered, counts.Recipients)
	setConditions(m, v)
}

func setConditions(m *v1alpha1.TeamTalkMessage, v verdict) {
	conditions := &m.Status.Conditions
	set := func(condition string, is bool, reason string) {
		status := metav1.ConditionFalse
		if is {
			status = metav1.ConditionTrue
		}
		meta.SetStatusCondition(conditions, metav1.Condition{
			Type: condition, Status: status, Reason: reason, Message: v.message, ObservedGeneration: m.Generation,
		})
	}
	deliveredReason := v.reason
	if v.deliveredReason != "" {
		deliveredReason = v.deliveredReason
	}
	set(v1alpha1.ConditionReady, v.delivered || v.onPurpose, v.reason)
	set(v1alpha1.ConditionDelivered, v.delivered, deliveredReason)
	set(v1alpha1.ConditionFinished, v.finished, v.reason)
	// Present only while they are so: that is how kstatus reads them.
	if v.finished || v.onPurpose {
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionReconciling)
	} else {
		set(v1alpha1.ConditionReconciling, true, v.reason)
	}
	if v.finished && !v.delivered {
		set(v1alpha1.ConditionStalled, true, v.reason)
	} else {
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionStalled)
	}
}

// judge finds the words for the state of all recipients together.
func judge(s *scope) verdict {
	var done, delivered, notRouted int
	var failed, waiting *delivery.Progress
	for i := range s.recipients {
		p := &s.recipients[i]
		switch {
		case p.Delivered():
			done++
			delivered++
			if p.Reason == v1alpha1.ReasonStoredNotRouted {
				notRouted++
			}
		case p.Done():
			done++
			if failed == nil {
				failed = p
			}
		case waiting == nil && p.Reason != "":
			waiting = p
		}
	}
	all := len(s.recipients)
	switch {
	case done < all && s.wait != nil:
		return verdict{reason: s.wait.Reason, message: s.wait.Message, onPurpose: s.onPurpose}
	case done < all && s.hold != nil:
		return verdict{reason: s.hold.Reason, message: s.hold.Message}
	case done < all && waiting != nil:
		return verdict{reason: waitingReason(waiting), message: waiting.Message}
	case done < all:
		return verdict{reason: v1alpha1.ReasonSending, message: "sending"}
	case delivered == all && notRouted > 0:
		return verdict{
			reason: v1alpha1.ReasonDelivered, deliveredReason: v1alpha1.ReasonStoredNotRouted, finished: true, delivered: true,
			message: fmt.Sprintf("delivered to all %d recipients; %d will see it at their next sync, as no router announced it", all, notRouted),
		}
	case delivered == all:
		return verdict{
			reason: v1alpha1.ReasonDelivered, finished: true, delivered: true,
			message: "delivered to " + plural(all, "recipient"),
		}
	case delivered > 0:
		return verdict{
			reason: v1alpha1.ReasonPartiallyDelivered, finished: true,
			message: fmt.Sprintf("delivered to %d of %s; first failure: %s", delivered, plural(all, "recipient"), failed.Message),
		}
	case all > 1:
		return verdict{
			reason: failed.Reason, finished: true,
			message: fmt.Sprintf("failed for all %s; first failure: %s", plural(all, "recipient"), failed.Message),
		}
	}
	return verdict{reason: failed.Reason, finished: true, message: failed.Message}
}

// waitingReason names what holds a message up: a failure that is tried again is
// RetryScheduled, whatever it was; the recipient has the details.
func waitingReason(p *delivery.Progress) string {
	if p.State == v1alpha1.StatePending {
		switch p.Reason {
		case v1alpha1.ReasonStoreRejected, v1alpha1.ReasonNotStored, v1alpha1.ReasonNoAnswer:
			return v1alpha1.ReasonRetryScheduled
		}
	}
	return p.Reason
}

// statusOf writes a recipient's progress down; staged: with the time by which it
// is found again.
func statusOf(p delivery.Progress, staged bool) v1alpha1.RecipientStatus {
	at := func(t time.Time) *metav1.Time {
		if t.IsZero() {
			return nil
		}
		return &metav1.Time{Time: t.Truncate(time.Second)}
	}
	r := v1alpha1.RecipientStatus{
		Type: p.Type, ID: int64(p.ID), State: p.State, Reason: p.Reason, Message: shorten(p.Message),
		Attempts: p.Attempts, InDoubtSince: at(p.DoubtSince), StoredAt: at(p.StoredAt), RoutedAt: at(p.RoutedAt),
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

// shorten keeps a message within what the API allows, in characters.
func shorten(message string) string {
	if runes := []rune(message); len(runes) > v1alpha1.MaxRecipientMessage {
		return string(runes[:v1alpha1.MaxRecipientMessage-1]) + "…"
	}
	return message
}

// summarize names the recipients, or counts them where there are many.
func summarize(to v1alpha1.Recipients) string {
	part := func(what string, n int, id func(int) int64) string {
		switch {
		case n == 0:
			return ""
		case n > 3:
			return plural(n, what)
		}
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprint(id(i))
		}
		if n > 1 {
			what += "s"
		}
		return what + " " + strings.Join(ids, ",")
	}
	users := part("user", len(to.Users), func(i int) int64 { return int64(to.Users[i]) })
	groups := part("group", len(to.Groups), func(i int) int64 { return int64(to.Groups[i]) })
	if users != "" && groups != "" {
		return users + "; " + groups
	}
	return users + groups
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// write writes the whole status if it has changed, against the version it was
// computed from.
func (r *Reconciler) write(ctx context.Context, before *v1alpha1.TeamTalkMessage, s *scope) (bool, error) {
	if equality.Semantic.DeepEqual(before.Status, s.message.Status) {
		return false, nil
	}
	if slimmed(before) {
		// It would wipe what the cache has dropped.
		return false, fmt.Errorf("record message %s: the cache keeps only a part of it", client.ObjectKeyFromObject(before))
	}
	return true, r.Client.Status().Update(ctx, s.message)
}

// report writes an event for what a human should notice: that the message waits
// or has failed, or was found in the store. Plain success writes none.
func (r *Reconciler) report(before, after *v1alpha1.TeamTalkMessage) {
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if was != nil && was.Reason == is.Reason {
		return
	}
	kind, reason, note := corev1.EventTypeWarning, is.Reason, is.Message
	switch is.Reason {
	case v1alpha1.ReasonSending, v1alpha1.ReasonScheduled, v1alpha1.ReasonSuspended:
		return
	case v1alpha1.ReasonNoAnswer:
		if inheritedDoubt(after) {
			return
		}
	case v1alpha1.ReasonDelivered:
		kind, reason, note = noteworthy(after)
		if reason == "" {
			return
		}
	}
	r.Recorder.Eventf(after, nil, kind, reason, "Deliver", "%s", note)
}

// inheritedDoubt reports whether nothing is in doubt but what an earlier operator
// may have sent: that is so of every message that is there when a leader is lost,
// and hundreds of events then would only keep new ones from being sent.
func inheritedDoubt(m *v1alpha1.TeamTalkMessage) bool {
	return !slices.ContainsFunc(m.Status.Recipients, func(r v1alpha1.RecipientStatus) bool {
		return r.State == v1alpha1.StateInDoubt && r.Attempts > 0
	})
}

// noteworthy says what was unusual about a delivery, or nothing.
func noteworthy(m *v1alpha1.TeamTalkMessage) (kind, reason, note string) {
	for _, r := range m.Status.Recipients {
		switch r.Reason {
		case v1alpha1.ReasonStoredNotRouted:
			return corev1.EventTypeWarning, r.Reason, r.Message
		case v1alpha1.ReasonAdopted:
			kind, reason, note = corev1.EventTypeNormal, r.Reason, r.Message
		}
	}
	return kind, reason, note
}
