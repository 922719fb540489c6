// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
)

const (
	// readWorkers is how many messages that were read are reconciled at a time. Some may wait for db_proxy.
	readWorkers = 4
	// readInterval is the shortest time between two status writes of a message about its reads, and between two looks at
	// it, unless it is known that there is something to do earlier. readDue wakes a message after longer times.
	readInterval = 10 * time.Second
	// readRecheck is how often a message with a readPolicy that is due is looked at if nothing wakes it: it may have been
	// deleted. Many that were taken up together are spread over the second half of it.
	readRecheck = time.Hour
)

// setupRead adds the controller that records who has read a message. It is woken by reads, by the watch of messages
// that are not settled, and by itself at deadlines.
func (r *Reconciler) setupRead(mgr ctrl.Manager) error {
	r.Receipts.Wake = func(key types.NamespacedName) {
		r.readWake.WakeWith(priorityqueue.AddOpts{Priority: new(handler.LowPriority)}, key)
	}
	r.readDue.wake = r.readWake.Wake
	if err := mgr.Add(&r.readDue); err != nil {
		return err
	}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("teamtalkmessage-read").
		WatchesRawSource(&r.readWake).
		WithOptions(controller.Options{MaxConcurrentReconciles: readWorkers}).
		Complete(reconcile.Func(r.reconcileRead))
	if err != nil {
		return err
	}
	counters := newUnreadCounters(r.Receipts, r.Sessions, r.Client, mgr.GetLogger().WithName("reads"))
	return counters.setup(mgr)
}

// wakeRead enqueues a message that has just finished if it was read before: a read of an unfinished message is not
// recorded. The watch enqueues those with a readPolicy.
func (r *Reconciler) wakeRead(m *v1alpha1.TeamTalkMessage) {
	if !m.ReadDue() {
		r.Receipts.Unkeep(trackedMessage(m), sentOf(m)) // its policy was removed, or some of its recipients
	}
	r.Receipts.SetNext(client.ObjectKeyFromObject(m), time.Time{})
	if r.Receipts.HasRead(trackedMessage(m)) {
		r.readWake.Wake(client.ObjectKeyFromObject(m))
	}
}

func trackedMessage(m *v1alpha1.TeamTalkMessage) readreceipt.Message {
	return readreceipt.Message{Key: client.ObjectKeyFromObject(m), UID: m.UID}
}

// reconcileRead looks at a message that may have been read, once in readInterval: each look reads all of it.
func (r *Reconciler) reconcileRead(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if later := r.Receipts.Wait(req.NamespacedName); later > 0 {
		return reconcile.Result{RequeueAfter: later}, nil
	}
	result, err := r.lookForReads(ctx, req)
	if err != nil {
		return reconcile.Result{}, err
	}
	r.Receipts.SetNext(req.NamespacedName, time.Now().Add(soonest(result.RequeueAfter, readInterval)))
	if result.RequeueAfter <= readInterval {
		r.readDue.set(req.NamespacedName, 0)
		return result, nil
	}
	r.readDue.set(req.NamespacedName, result.RequeueAfter)
	return reconcile.Result{}, nil
}

// lookForReads records who has read a message that has finished.
func (r *Reconciler) lookForReads(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	m := &v1alpha1.TeamTalkMessage{}
	err := r.Live.Get(ctx, req.NamespacedName, m)
	switch {
	case apierrors.IsNotFound(err):
		r.Receipts.Release(req.NamespacedName)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("read a message that was read: %w", err)
	case !m.DeletionTimestamp.IsZero():
		r.Receipts.Release(req.NamespacedName)
		return reconcile.Result{}, nil
	case !m.Finished() || !m.Status.Finished:
		return reconcile.Result{RequeueAfter: readRecheck}, nil // its end wakes it, unless it is deleted
	case !m.ReadDue() && !r.Receipts.HasRead(trackedMessage(m)):
		r.Receipts.Unkeep(trackedMessage(m), sentOf(m)) // it was decided after it was listed
		return reconcile.Result{}, nil
	}
	end, ok := r.Engine.TrackReconcile(m.UID)
	if !ok {
		return reconcile.Result{}, nil // the next leader's
	}
	defer end()
	if later, err := r.mayRecordRead(ctx, m); later > 0 || err != nil {
		return reconcile.Result{RequeueAfter: later}, err
	}
	return r.recordRead(ctx, m)
}

// mayRecordRead returns how long to wait until this process may record reads of the message; 0: it may.
func (r *Reconciler) mayRecordRead(ctx context.Context, m *v1alpha1.TeamTalkMessage) (time.Duration, error) {
	term, err := r.Term.Term(ctx)
	if err != nil {
		return 0, err
	}
	if err := r.Gate(); err != nil {
		return conflictDelay, nil //nolint:nilerr // it may open again
	}
	if _, claimed := r.Claims.TermOf(m.ServerKey(), term); !claimed {
		if exists, err := r.hasServer(ctx, m); exists || err != nil {
			return r.claimRetry(m.ServerKey()), err
		}
	}
	_, written := r.Receipts.Receipts(trackedMessage(m))
	return max(0, time.Until(written.Add(readInterval)), r.refused.wait(m.UID)), nil
}

// awaitRead tracks a message as it is listed, so that many need not be read one by one, and sets when to look at it. It
// returns false if that is now: its status does not show what is known.
func (r *Reconciler) awaitRead(m *v1alpha1.TeamTalkMessage) bool {
	if !m.DeletionTimestamp.IsZero() || !m.Finished() || !m.Status.Finished {
		return false
	}
	if !r.Receipts.IsAsListed(trackedMessage(m), sentOf(m)) {
		return false
	}
	shown := m.DeepCopy()
	missed := r.showReads(shown, time.Now())
	if !equality.Semantic.DeepEqual(shown.Status, m.Status) {
		return false
	}
	r.Receipts.NoteShown(trackedMessage(m), missed)
	r.readDue.setAtLatest(client.ObjectKeyFromObject(m), untilReadIsDue(m)) // it may have been edited since
	return true
}

// untilReadIsDue returns when to look at a message with a readPolicy that is due if nothing wakes it. An edit ends its
// suspension.
func untilReadIsDue(m *v1alpha1.TeamTalkMessage) time.Duration {
	recheck := wait.Jitter(readRecheck/2, 1)
	if isReadSuspended(m) {
		return recheck
	}
	return soonest(max(time.Millisecond, time.Until(m.ReadDeadline())), recheck)
}

// showReads adds to the status what is known of reads. It returns of how many recipients it shows that they may have
// read the message.
func (r *Reconciler) showReads(m *v1alpha1.TeamTalkMessage, now time.Time) (missed int) {
	text := recordedMissed(m)
	switch {
	case !m.ReadDue():
	case r.keepRead(m):
		text, missed = r.missedReads(m, now)
	default:
		text = "others may have read it: the operator waits for the reads of too many recipients"
	}
	receipts, _ := r.Receipts.Receipts(trackedMessage(m))
	applyReceipts(m, receipts)
	setRead(m, text, now)
	return missed
}

// recordRead writes the status if there is more to show.
func (r *Reconciler) recordRead(ctx context.Context, m *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	before, tracked := m.DeepCopy(), trackedMessage(m)
	missed := r.showReads(m, time.Now())
	if !equality.Semantic.DeepEqual(before.Status, m.Status) && isReadShown(before, m) {
		if result, err := r.writeRead(ctx, before, m); err != nil || !result.IsZero() {
			return result, err
		}
	}
	r.Receipts.NoteShown(tracked, missed)
	if s := readStateOf(m); !m.ReadDue() && (m.Spec.ReadPolicy != nil || s.isRead()) {
		r.Receipts.Release(tracked.Key)
		return reconcile.Result{}, nil
	}
	if m.ReadDue() {
		return reconcile.Result{RequeueAfter: untilReadIsDue(m)}, nil
	}
	return reconcile.Result{}, nil
}

// writeRead writes the status, and reports what has changed. The result is not zero if it is to be written later.
func (r *Reconciler) writeRead(ctx context.Context, before, m *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	term, err := r.Term.Term(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	switch err := r.Live.Status().Update(ctx, m); {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: conflictDelay}, nil
	case isRefused(err):
		return r.statusRefused(ctx, &scope{message: m}, err), nil
	case err != nil:
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	r.refused.reset(m.UID)
	r.Receipts.Written(trackedMessage(m), time.Now())
	r.reportRead(before, m)
	if e := readEvent(before, m); e.reason != "" {
		r.Recorder.Eventf(m, nil, e.kind, e.reason, "Read", "%s", e.note)
	}
	if m.Status.Escalated() && !before.Status.Escalated() {
		term, _ = r.Claims.TermOf(m.ServerKey(), term)
		r.escalationBegan(m, term)
	}
	return reconcile.Result{}, nil
}

// soonest returns the shortest time to wait. 0 is none.
func soonest(waits ...time.Duration) (first time.Duration) {
	for _, next := range waits {
		if next > 0 && (first == 0 || next < first) {
			first = next
		}
	}
	return first
}

// isReadShown reports whether a change is written: without a readPolicy, only the first read and the last.
func isReadShown(before, after *v1alpha1.TeamTalkMessage) bool {
	if before.ReadDue() {
		return true
	}
	was, is := readStateOf(before), readStateOf(after)
	return is.read > was.read && (was.read == 0 || is.isRead())
}

// keepRead tracks the recipients that have not read a message until its condition Read is decided. It returns false if
// too many are tracked.
func (r *Reconciler) keepRead(m *v1alpha1.TeamTalkMessage) bool {
	if m.Status.SenderID == nil {
		return true
	}
	var sent []readreceipt.Recorded
	for i := range m.Status.Recipients {
		if s, ok := sentTo(&m.Status.Recipients[i]); ok {
			sent = append(sent, readreceipt.Recorded{Sent: s, Read: m.Status.Recipients[i].ReadBy > 0})
		}
	}
	return r.Receipts.Keep(trackedMessage(m), m.ServerKey(), uint32(*m.Status.SenderID), sent)
}

// sentOf returns the messages to recipients that were routed.
func sentOf(m *v1alpha1.TeamTalkMessage) (sent []readreceipt.Sent) {
	for i := range m.Status.Recipients {
		if s, ok := sentTo(&m.Status.Recipients[i]); ok {
			sent = append(sent, s)
		}
	}
	return sent
}

// sentTo returns the message to a recipient that was routed, or false.
func sentTo(s *v1alpha1.RecipientStatus) (readreceipt.Sent, bool) {
	n := len(s.MessageIDs)
	if s.State != v1alpha1.StateRouted || n == 0 {
		return readreceipt.Sent{}, false
	}
	return readreceipt.Sent{To: s.Recipient(), First: uint32(s.MessageIDs[0]), Last: uint32(s.MessageIDs[n-1])}, true
}

// applyReceipts adds to the status who has read the message since. What is read after the deadline does not count,
// unless the message is, or was until now, suspended.
func applyReceipts(m *v1alpha1.TeamTalkMessage, receipts []readreceipt.Receipt) {
	st, deadline := &m.Status, m.ReadDeadline()
	if isEscalationSuspended(m) || isReadSuspended(m) {
		deadline = time.Time{}
	}
	bySent := make(map[readreceipt.Sent]readreceipt.Receipt, len(receipts))
	for _, r := range receipts {
		bySent[r.Sent] = r
	}
	for i := range st.Recipients {
		recipient := &st.Recipients[i]
		sent, routed := sentTo(recipient)
		r := bySent[sent]
		isInTime := deadline.IsZero() || !r.ReadAt.After(deadline)
		if routed && r.ReadBy > 0 && isInTime {
			recipient.ReadBy = max(recipient.ReadBy, int32(r.ReadBy))
			if recipient.ReadAt == nil {
				at := metav1.NewTime(r.ReadAt.Truncate(time.Second))
				if recipient.RoutedAt != nil && at.Before(recipient.RoutedAt) {
					at = *recipient.RoutedAt // a fast client reads before the router's confirmation
				}
				recipient.ReadAt = &at
			}
		}
	}
	if st.Counts != nil {
		st.Counts.Read = readStateOf(m).read
		if n := len(st.Revisions); n > 0 {
			st.Revisions[n-1].Counts = *st.Counts
		}
	}
}
