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

// reconcileFinished tries again what failed of a message, where that is asked for,
// and deletes one whose time has come.
func (r *Reconciler) reconcileFinished(ctx context.Context, message *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	if !message.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	if message.RetryAsked() {
		return r.retry(ctx, message)
	}
	expires := message.ExpiresAt()
	if expires.IsZero() {
		return reconcile.Result{}, nil
	}
	if wait := time.Until(expires); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	err := r.Client.Delete(ctx, message, client.Preconditions{UID: &message.UID, ResourceVersion: &message.ResourceVersion})
	switch {
	case apierrors.IsConflict(err):
		// It has changed, and comes back with its change; or something said so without one.
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	case client.IgnoreNotFound(err) != nil:
		return reconcile.Result{}, fmt.Errorf("delete a message whose ttlSecondsAfterFinished is over: %w", err)
	}
	return reconcile.Result{}, nil
}

// retry puts on record that the recipients which failed begin anew. Until the
// status shows it nothing is sent, so that it happens once per value.
func (r *Reconciler) retry(ctx context.Context, message *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	live := &v1alpha1.TeamTalkMessage{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(message), live); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if live.UID != message.UID || !live.Finished() || !live.RetryAsked() {
		return reconcile.Result{}, nil // the cache is behind, and comes back with what is new
	}
	term, err := r.Term.Term(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	s := newScope(live, term, "", time.Now())
	s.retryFailed()
	return r.record(ctx, s)
}
