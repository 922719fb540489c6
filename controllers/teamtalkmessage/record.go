// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// conflictDelay is the time after a conflict until the message is reconciled again without an event.
const conflictDelay = time.Second

// StatusWrite is a status that has been written.
type StatusWrite struct {
	Message *v1alpha1.TeamTalkMessage
	// Escalation is true for the status of an escalation. Message is then the result of TeamTalkMessage.Escalation.
	Escalation bool
	// Server is the TeamTalkServer, or empty where none was found: the name in the spec is any text.
	Server types.NamespacedName
	// Began and Ended are when the write began and ended, by this process's clock.
	Began, Ended time.Time
	// Finished is true for the write that shows the message's end.
	Finished bool
	// Done lists the recipients whose end this status is the first to show.
	Done []v1alpha1.RecipientStatus
}

// record writes the status, if the outcome requires it and the status changes, and reports the change.
func (r *Reconciler) record(ctx context.Context, s *scope, out outcome) (reconcile.Result, error) {
	result := reconcile.Result{RequeueAfter: cmp.Or(out.after, s.untilDue())}
	if out.action == actionLeave || out.action == actionRecordProgress && s.snapshot == nil {
		return result, nil
	}
	closed := r.Gate() != nil
	if closed {
		result.RequeueAfter, out.cause = conflictDelay, nil
	}
	r.syncProgress(s, out)
	if closed && !s.hasOwnProgress() {
		// Another operator may be sending it, so a status of this one would prove nothing.
		return result, nil
	}
	if wait := r.refused.wait(s.message.UID); wait > 0 && !r.Engine.AwaitsRecord(s.message.UID) {
		// The cause of the wake does not matter: a status of 1.5 MB must not be written for each of a thousand recipients.
		return reconcile.Result{RequeueAfter: cmp.Or(min(wait, result.RequeueAfter), wait)}, nil
	}
	before := s.message.DeepCopy()
	setStatus(s, out.cause, time.Now())
	if out.action == actionRecordDue && s.running() && !s.snapshot.Due && s.onlyProgressDiffers(before) {
		return result, nil
	}
	began := time.Now()
	changed, err := r.write(ctx, s, before)
	switch {
	case apierrors.IsConflict(err):
		// The change wakes the message. But a proxy may report a conflict without a change.
		return reconcile.Result{RequeueAfter: conflictDelay}, nil
	case isRefused(err):
		return r.statusRefused(ctx, s, err), nil
	case err != nil:
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	r.refused.reset(s.message.UID)
	if s.snapshot != nil {
		r.Engine.Ack(s.message.UID, s.snapshot.Revision)
	}
	if changed {
		r.keepFresh(s)
		r.reportChange(s, before, began)
	}
	s.revisionRecorded = s.origin == originRevision
	if s.message.Finished() {
		r.wakeFinished(s)
		return reconcile.Result{}, nil
	}
	return result, nil
}

// wakeFinished wakes the reconcilers that continue with a finished message or escalation.
func (r *Reconciler) wakeFinished(s *scope) {
	if s.isEscalation() {
		r.wakeEscalation(s.escalated) // the engine forgets it
		return
	}
	r.wakeRead(s.message)
}

// hasOwnProgress reports whether the engine has the message, and no recipient has missed the deadline there.
func (s *scope) hasOwnProgress() bool {
	return s.snapshot != nil && !slices.ContainsFunc(s.snapshot.Recipients, func(p delivery.Progress) bool {
		return p.Reason == v1alpha1.ReasonDeadlineExceeded
	})
}

// onlyProgressDiffers reports whether the status differs from an earlier one only in the progress of recipients.
func (s *scope) onlyProgressDiffers(before *v1alpha1.TeamTalkMessage) bool {
	if !s.isEscalation() {
		return onlyProgressDiffers(before, s.message)
	}
	after := s.escalated.DeepCopy()
	applyEscalation(after, s.message)
	e, was := after.Status.Escalation, s.escalated.Status.Escalation
	e.Recipients, e.Counts = was.Recipients, was.Counts
	return equality.Semantic.DeepEqual(after.Status, s.escalated.Status)
}

// onlyProgressDiffers reports whether two statuses show the same apart from the progress of recipients, or only that
// the message is being sent.
func onlyProgressDiffers(before, after *v1alpha1.TeamTalkMessage) bool {
	if len(before.Status.Conditions) == 0 {
		ready := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == v1alpha1.ReasonSending
	}
	rest := before.Status
	rest.Recipients, rest.Counts, rest.RecipientsSummary =
		after.Status.Recipients, after.Status.Counts, after.Status.RecipientsSummary
	return equality.Semantic.DeepEqual(rest, after.Status)
}

// syncProgress stops the delivery of a message that has to wait, and reads the latest progress.
func (r *Reconciler) syncProgress(s *scope, out outcome) {
	if out.cause != nil {
		// A cause that delays a message before it is submitted also stops its delivery.
		r.Engine.Stop(s.message.UID)
	}
	if !s.startsOver() && (s.snapshot == nil || s.underWay()) {
		// Not if a task has ended: the decisions of the phases would be lost.
		r.readProgress(s)
	}
}

// reportChange reports a status write: with an event if it needs attention, and to the observer.
func (r *Reconciler) reportChange(s *scope, before *v1alpha1.TeamTalkMessage, began time.Time) {
	switch {
	case s.isEscalation():
	case s.beganEscalation(before):
		r.escalationBegan(s.message, s.term)
	case !before.Escalating() && s.message.Escalating():
		r.escalationContinues(s.message, s.term) // a retry
	}
	for _, e := range []statusEvent{
		eventOf(before, s.message), gitOpsEvent(before, s.message), s.revisionEvent(), readEvent(before, s.message),
	} {
		if e.reason != "" {
			action := "Deliver"
			if s.isEscalation() {
				action, e.note = "Escalate", "escalation: "+e.note
			}
			r.Recorder.Eventf(s.object(), nil, e.kind, e.reason, action, "%s", e.note)
		}
	}
	r.reportRead(before, s.message)
	if r.OnStatusWrite != nil {
		r.OnStatusWrite(StatusWrite{
			Message: s.message, Escalation: s.isEscalation(), Server: s.serverKey(), Began: began, Ended: time.Now(),
			Finished: s.message.Status.Finished && !before.Status.Finished,
			Done:     s.newlyDone(before.Status.Recipients),
		})
	}
}

// readProgress reads the engine's progress of the message.
func (r *Reconciler) readProgress(s *scope) {
	switch snapshot, ok := r.Engine.Snapshot(s.message.UID); {
	case !ok:
	case int32(snapshot.OfRevision) >= s.revision: // the status at hand is older
	case int32(snapshot.OfRevision) < s.revision-1, s.isBeforeEdit(snapshot):
		// It is a former revision: the answer to the write that has ended it may have been lost.
		r.Engine.Forget(s.message.UID)
	default:
		s.adopt(snapshot)
	}
}

// beganEscalation reports whether the status that is written is the first to show that the escalation has begun.
func (s *scope) beganEscalation(before *v1alpha1.TeamTalkMessage) bool {
	return !s.isEscalation() && s.message.Status.Escalated() && !before.Status.Escalated()
}

// write writes the status of a message, or of an escalation.
func (r *Reconciler) write(ctx context.Context, s *scope, before *v1alpha1.TeamTalkMessage) (bool, error) {
	if s.isEscalation() {
		return r.writeEscalation(ctx, s)
	}
	return r.writeStatus(ctx, before, s.message)
}

// writeStatus writes the whole status if it has changed, against the version that it was computed from.
func (r *Reconciler) writeStatus(ctx context.Context, before, after *v1alpha1.TeamTalkMessage) (bool, error) {
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return false, nil
	}
	err := r.Client.Status().Update(ctx, after)
	if err == nil {
		r.written.Store(client.ObjectKeyFromObject(after), writtenVersion{after.UID, after.ResourceVersion})
	}
	return true, err
}

// keepFresh remembers that no earlier operator is sending a message. The status no longer proves it, because this
// process has recorded the data that is recorded before a send.
func (r *Reconciler) keepFresh(s *scope) {
	if s.earlierUntil.IsZero() && !earlierUntil(s.term, s.message).IsZero() {
		r.fresh.Store(client.ObjectKeyFromObject(s.message), freshMessage{s.message.UID, s.term.Local})
	}
}

// freshMessage is a message that no earlier operator was sending in a term that began at local.
type freshMessage struct {
	uid   types.UID
	local time.Time
}

func (r *Reconciler) isFresh(m *v1alpha1.TeamTalkMessage, term leadership.Term) bool {
	fresh, ok := r.fresh.Load(client.ObjectKeyFromObject(m))
	return ok && fresh == freshMessage{m.UID, term.Local}
}

// newlyDone returns the recipients whose end the status is the first to show.
func (s *scope) newlyDone(before []v1alpha1.RecipientStatus) (done []v1alpha1.RecipientStatus) {
	if s.origin == originRevision {
		former := recipientStatuses(s.former, false)
		done = newlyDone(before, former)
		if before = nil; s.keepsContent {
			before = former
		}
	}
	done = append(done, newlyDone(before, s.message.Status.Recipients)...)
	return slices.DeleteFunc(done, func(r v1alpha1.RecipientStatus) bool { return r.Reason == v1alpha1.ReasonSuperseded })
}

// newlyDone returns the recipients that are done now and were not before. A retried recipient counts again.
func newlyDone(before, after []v1alpha1.RecipientStatus) (done []v1alpha1.RecipientStatus) {
	earlier := make(map[v1alpha1.Recipient]v1alpha1.RecipientStatus, len(before))
	for _, r := range before {
		earlier[r.Recipient()] = r
	}
	for _, r := range after {
		if b := earlier[r.Recipient()]; r.Done() && (!b.Done() || b.Attempts != r.Attempts) {
			done = append(done, r)
		}
	}
	return done
}

// statusEvent is an event about a change of status. The zero value is no event.
type statusEvent struct{ kind, reason, note string }

// eventOf returns the event of a change: the message waits, has failed, or was found in the store.
func eventOf(before, after *v1alpha1.TeamTalkMessage) statusEvent {
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if was != nil && was.Reason == is.Reason {
		return statusEvent{}
	}
	switch is.Reason {
	case v1alpha1.ReasonSending, v1alpha1.ReasonScheduled, v1alpha1.ReasonSuspended:
		return statusEvent{}
	case v1alpha1.ReasonNoAnswer:
		if onlyEarlierDoubt(after) {
			return statusEvent{}
		}
	case v1alpha1.ReasonDelivered:
		return deliveryEvent(after)
	case v1alpha1.ReasonAlertResolved:
		return statusEvent{corev1.EventTypeNormal, is.Reason, is.Message}
	}
	return statusEvent{corev1.EventTypeWarning, is.Reason, is.Message}
}

// onlyEarlierDoubt reports whether all doubts are about an earlier operator. Events of every message that exists
// when a leader is lost would delay new messages.
func onlyEarlierDoubt(m *v1alpha1.TeamTalkMessage) bool {
	return !slices.ContainsFunc(m.Status.Recipients, func(r v1alpha1.RecipientStatus) bool {
		return r.State == v1alpha1.StateInDoubt && r.Attempts > 0
	})
}

// deliveryEvent returns an event about an unusual delivery, if it was one.
func deliveryEvent(m *v1alpha1.TeamTalkMessage) (e statusEvent) {
	for _, r := range m.Status.Recipients {
		switch r.Reason {
		case v1alpha1.ReasonStoredNotRouted:
			return statusEvent{corev1.EventTypeWarning, r.Reason, r.Message}
		case v1alpha1.ReasonAdopted:
			e = statusEvent{corev1.EventTypeNormal, r.Reason, r.Message}
		}
	}
	return e
}
