// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

// Unfinished selects the messages that the cache holds. Messages that finished before status.finished existed are
// included until cleanUp has completed their status.
var Unfinished = fields.OneTermEqualSelector(v1alpha1.FieldFinished, "false")

const (
	// editReads is the number of edited messages that are read concurrently.
	editReads = 4
	// cleanupWorkers is the number of concurrent deletions. With one, 53 messages are deleted per second, and a new
	// message takes 32 ms. With four, they are 85 and 64 ms.
	cleanupWorkers = 2
)

// setupFinished adds the controllers of finished messages, and their watches: the cache does not hold these messages.
func (r *Reconciler) setupFinished(mgr ctrl.Manager) error {
	edits, cleanups := &apiwatch.Trigger{}, &apiwatch.Trigger{}
	log := mgr.GetLogger().WithName("finished")
	for _, w := range []*finishedWatch{
		newEditWatch(r.Live, log, edits),
		newUnsettledWatch(r.Live, log, edits, cleanups, &r.readWake, r.Wake, r.awaitRead),
	} {
		if err := mgr.Add(w); err != nil {
			return err
		}
	}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("teamtalkmessage-edit").
		WatchesRawSource(edits).
		WithOptions(controller.Options{MaxConcurrentReconciles: editReads}).
		Complete(reconcile.Func(r.reconcileEdit))
	if err != nil {
		return err
	}
	if err := r.setupRead(mgr); err != nil {
		return err
	}
	// The cache holds messages that finished before status.finished existed.
	finished := predicate.NewPredicateFuncs(func(o client.Object) bool {
		m, ok := o.(*v1alpha1.TeamTalkMessage)
		return ok && m.Finished()
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("teamtalkmessage-cleanup").
		Watches(&v1alpha1.TeamTalkMessage{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(finished)).
		WatchesRawSource(cleanups).
		WithOptions(controller.Options{MaxConcurrentReconciles: cleanupWorkers}).
		Complete(reconcile.Func(r.cleanUp))
}

// cleanUp deletes a message whose TTL has expired. It also completes the status of a message that finished before
// status.finished and status.settled existed, or whose TTL was removed. Many messages may expire at once.
// cleanupWorkers limits the requests in flight, and so the delay of new messages.
func (r *Reconciler) cleanUp(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	m := &v1alpha1.TeamTalkMessage{}
	if err := r.Live.Get(ctx, req.NamespacedName, m); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !m.Finished() || !m.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	expires := m.ExpiresAt()
	hasTTL := !expires.IsZero() && !m.RetryAsked()
	var err error
	switch {
	case hasTTL && !time.Now().Before(expires):
		err = r.Live.Delete(ctx, m, client.Preconditions{UID: &m.UID, ResourceVersion: &m.ResourceVersion})
	case isOutdated(m):
		m.Status.Finished, m.Status.Settled = true, !m.NeedsAttention()
		err = r.Live.Status().Update(ctx, m)
	case hasTTL:
		return reconcile.Result{RequeueAfter: time.Until(expires)}, nil
	}
	switch {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: conflictDelay}, nil // as in record
	case client.IgnoreNotFound(err) != nil:
		return reconcile.Result{}, fmt.Errorf("clean up a message that has finished: %w", err)
	}
	return reconcile.Result{}, nil
}

// reconcileEdit handles an edit of a finished message.
func (r *Reconciler) reconcileEdit(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	m := &v1alpha1.TeamTalkMessage{}
	if err := r.Live.Get(ctx, req.NamespacedName, m); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	edited := !m.Finished() || m.RetryAsked() || isOutdated(m)
	if !m.Status.Finished || !m.DeletionTimestamp.IsZero() || !edited {
		return reconcile.Result{}, nil
	}
	if r.Engine.Knows(m.UID) {
		// The cache does not show yet that it has finished, or the engine was not informed. The engine's state is older than
		// the edit.
		r.Wake.Wake(req.NamespacedName)
		return reconcile.Result{RequeueAfter: cacheLag}, nil
	}
	switch isRetry := m.Finished() && m.RetryAsked(); {
	case !isRetry:
	case m.Escalating() && !hasRetryable(m.Status.Recipients):
		return reconcile.Result{}, nil // it is about the escalation, whose end wakes it
	case !m.Escalating() && r.Engine.Knows(m.Escalation().UID):
		r.wakeEscalation(m) // the engine has not been told that it has ended
		return reconcile.Result{RequeueAfter: cacheLag}, nil
	}
	return r.takeUp(ctx, m)
}

// hasRetryable reports whether a retry tries some of the recipients again.
func hasRetryable(recipients []v1alpha1.RecipientStatus) bool {
	return slices.ContainsFunc(recipients, func(r v1alpha1.RecipientStatus) bool {
		return r.Retryable() || r.FailedInDoubt()
	})
}

// isOutdated reports whether a finished message has other values of status.finished and status.settled than it should:
// its TTL was edited, or it finished before these fields existed.
func isOutdated(m *v1alpha1.TeamTalkMessage) bool {
	return !m.Status.Finished || m.Status.Settled == m.NeedsAttention()
}

// takeUp records the effect of an edit of a finished message: it starts again, its failed recipients are retried, or
// only its TTL changes. Nothing is sent before the status records it. Then the cache holds the message.
func (r *Reconciler) takeUp(ctx context.Context, m *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	term, err := r.Term.Term(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	end, ok := r.Engine.TrackReconcile(m.UID)
	if !ok {
		return reconcile.Result{}, nil // the next leader reconciles it
	}
	defer end()
	term, claimed := r.Claims.TermOf(m.ServerKey(), term)
	if !claimed {
		if exists, err := r.hasServer(ctx, m); exists || err != nil {
			return reconcile.Result{RequeueAfter: r.claimRetry(m.ServerKey())}, err
		}
	}
	// A shorter deadline of a readPolicy may have passed: what was read before that counts.
	receipts, _ := r.Receipts.Receipts(trackedMessage(m))
	applyReceipts(m, receipts)
	s := newScope(m, term, time.Now())
	s.beginRevision()
	if m.Finished() && m.RetryAsked() {
		s.retryFailed()
	}
	checkStatusSize(s)
	result, err := r.record(ctx, s, done)
	if s.message.Status.Finished {
		r.written.Delete(client.ObjectKeyFromObject(m)) // the cache sends no event
	}
	return result, err
}
