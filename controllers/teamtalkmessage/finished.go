// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"fmt"
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

// Unsettled selects the messages that the cache holds.
var Unsettled = fields.OneTermEqualSelector(v1alpha1.FieldSettled, "false")

// setupFinished adds the controllers of messages that have finished: cleanUp is for those in the cache, and
// reconcileSettled for the others.
func (r *Reconciler) setupFinished(mgr ctrl.Manager) error {
	finished := predicate.NewPredicateFuncs(func(o client.Object) bool {
		m, ok := o.(*v1alpha1.TeamTalkMessage)
		return ok && m.Finished()
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("teamtalkmessage-cleanup").
		Watches(&v1alpha1.TeamTalkMessage{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(finished)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Complete(reconcile.Func(r.cleanUp))
	if err != nil {
		return err
	}
	edits := &apiwatch.Trigger{}
	if err := mgr.Add(newEditWatch(r.Live, mgr.GetLogger().WithName("edits"), edits.Wake)); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("teamtalkmessage-settled").
		WatchesRawSource(edits).
		WithOptions(controller.Options{MaxConcurrentReconciles: settledReads}).
		Complete(reconcile.Func(r.reconcileSettled))
}

// cleanUp deletes a message whose TTL is over. It also completes the status of a message that finished before
// status.finished and status.settled existed, or whose TTL was removed. Any number of messages may expire at once: the
// controller has one worker, so that it has one request in flight, and new messages are not delayed.
func (r *Reconciler) cleanUp(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	m := &v1alpha1.TeamTalkMessage{}
	if err := r.Client.Get(ctx, req.NamespacedName, m); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !m.Finished() || !m.DeletionTimestamp.IsZero() || m.RetryAsked() {
		return reconcile.Result{}, nil
	}
	expires := m.ExpiresAt()
	outdated := !m.Status.Finished || m.Status.Settled == m.NeedsAttention()
	expired := !expires.IsZero() && !time.Now().Before(expires)
	var err error
	switch {
	case expired:
		err = r.Client.Delete(ctx, m, client.Preconditions{UID: &m.UID, ResourceVersion: &m.ResourceVersion})
	case outdated:
		m.Status.Finished, m.Status.Settled = true, !m.NeedsAttention()
		err = r.Client.Status().Update(ctx, m)
	case !expires.IsZero():
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

// reconcileFinished retries a message of the cache if its annotation asks for it.
func (r *Reconciler) reconcileFinished(ctx context.Context, m *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	if !m.DeletionTimestamp.IsZero() || !m.RetryAsked() {
		return reconcile.Result{}, nil
	}
	return r.takeUp(ctx, m)
}

// takeUp records what an edit of a finished message comes to: it starts again, what failed of it is tried again, or
// nothing changes but its TTL. Nothing is sent before the status shows it; the cache holds the message then.
func (r *Reconciler) takeUp(ctx context.Context, m *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	term, err := r.Term.Term(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	end, ok := r.Engine.TrackReconcile(m.UID)
	if !ok {
		return reconcile.Result{}, nil // the next leader's
	}
	defer end()
	s := newScope(m, term, time.Now())
	if m.Finished() && m.RetryAsked() {
		s.retryFailed()
	}
	return r.record(ctx, s, done)
}
