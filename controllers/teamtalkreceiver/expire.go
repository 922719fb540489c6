package teamtalkreceiver

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// How often a receiver's messages are looked through: half its time to live,
	// within these bounds.
	minExpiry, maxExpiry = 10 * time.Second, time.Hour
	// pageSize is how many messages are listed at once.
	pageSize = 500
)

// expire deletes messages that finished longer ago than ttlSecondsAfterFinished. A
// message's own field of that name would make it known by its name in the store,
// and have every conversation searched for it.
func (r *Reconciler) expire(ctx context.Context, o *v1alpha1.TeamTalkReceiver) (reconcile.Result, error) {
	again := reconcile.Result{RequeueAfter: min(max(o.TTL()/2, minExpiry), maxExpiry)}
	if !o.DeletionTimestamp.IsZero() {
		return again, nil
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
	for {
		err := r.Live.List(ctx, list, client.InNamespace(o.Namespace),
			client.MatchingLabels{v1alpha1.ReceiverLabel: o.Name}, client.Limit(pageSize), client.Continue(list.Continue))
		if apierrors.IsResourceExpired(err) {
			return again, nil // it took too long to go through: from the start, next time
		}
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("list the receiver's messages: %w", err)
		}
		for i := range list.Items {
			if err := r.expireOne(ctx, o, &list.Items[i]); err != nil {
				return reconcile.Result{}, err
			}
		}
		if list.Continue == "" {
			return again, nil
		}
	}
}

func (r *Reconciler) expireOne(ctx context.Context, o *v1alpha1.TeamTalkReceiver, listed *metav1.PartialObjectMetadata) error {
	// It has finished later than it was created: most need not be read.
	if time.Since(listed.CreationTimestamp.Time) < o.TTL() || !metav1.IsControlledBy(listed, o) {
		return nil
	}
	m := &v1alpha1.TeamTalkMessage{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(listed), m); err != nil {
		return client.IgnoreNotFound(err)
	}
	done := m.Status.CompletionTime
	if !m.Finished() || done == nil || time.Since(done.Time) < o.TTL() {
		return nil
	}
	err := r.Client.Delete(ctx, m, client.Preconditions{UID: &m.UID, ResourceVersion: &m.ResourceVersion})
	if err := client.IgnoreNotFound(err); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete message %s of the receiver: %w", m.Name, err)
	}
	return nil
}
