package teamtalkmessage

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// reconcileFinished retries what failed of a message, if the annotation asks for it, or
// deletes the message once its ttlSecondsAfterFinished is over.
func (r *Reconciler) reconcileFinished(ctx context.Context, m *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	expires := m.ExpiresAt()
	switch {
	case !m.DeletionTimestamp.IsZero():
		return reconcile.Result{}, nil
	case m.RetryAsked():
		return r.retryFinished(ctx, m)
	case expires.IsZero():
		return reconcile.Result{}, nil
	}
	if wait := time.Until(expires); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	err := r.Client.Delete(ctx, m, client.Preconditions{UID: &m.UID, ResourceVersion: &m.ResourceVersion})
	switch {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: conflictDelay}, nil // as in record
	case client.IgnoreNotFound(err) != nil:
		return reconcile.Result{}, fmt.Errorf("delete a message whose ttlSecondsAfterFinished is over: %w", err)
	}
	return reconcile.Result{}, nil
}

// retryFinished records that the recipients which failed start again. Nothing is sent
// until the status shows it, so that it happens once per value of the annotation.
func (r *Reconciler) retryFinished(ctx context.Context, m *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	live := &v1alpha1.TeamTalkMessage{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(m), live); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if live.UID != m.UID || !live.Finished() || !live.RetryAsked() {
		return reconcile.Result{}, nil // the cache is stale; the newer version wakes the message
	}
	term, err := r.Term.Term(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	s := newScope(live, term, time.Now())
	s.retryFailed()
	return r.record(ctx, s, done)
}
