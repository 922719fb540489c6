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
	// A receiver's messages are listed at intervals of half its time to live, within these bounds.
	minExpiryInterval, maxExpiryInterval = 10 * time.Second, time.Hour
	// pageSize is how many messages are listed at once.
	pageSize = 500
)

// deleteExpired deletes messages that finished longer ago than ttlSecondsAfterFinished. It
// does not set the field of that name on messages: a message would be known by its
// name in the store, and every conversation would be searched for it.
func (r *Reconciler) deleteExpired(ctx context.Context, o *v1alpha1.TeamTalkReceiver) (reconcile.Result, error) {
	next := reconcile.Result{RequeueAfter: min(max(o.TTL()/2, minExpiryInterval), maxExpiryInterval)}
	if !o.DeletionTimestamp.IsZero() {
		return next, nil
	}
	labels := client.MatchingLabels{v1alpha1.ReceiverLabel: o.Name}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
	for {
		err := r.Live.List(ctx, list, client.InNamespace(o.Namespace), labels,
			client.Limit(pageSize), client.Continue(list.Continue))
		if apierrors.IsResourceExpired(err) {
			return next, nil // the list took too long; the next one begins again
		}
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("list the receiver's messages: %w", err)
		}
		for i := range list.Items {
			if err := r.deleteIfExpired(ctx, o, &list.Items[i]); err != nil {
				return reconcile.Result{}, err
			}
		}
		if list.Continue == "" {
			return next, nil
		}
	}
}

func (r *Reconciler) deleteIfExpired(
	ctx context.Context, o *v1alpha1.TeamTalkReceiver, listed *metav1.PartialObjectMetadata,
) error {
	// A message finishes later than it is created: most need not be read.
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
