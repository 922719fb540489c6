// SPDX-License-Identifier: Apache-2.0

package message

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// followPause is between two watches.
const followPause = time.Second

// errDeleted ends Follow.
var errDeleted = errors.New("it was deleted")

// Follow shows each state of a message until show returns true. It continues when the API server is away. It returns
// the last state that it has seen, which is nil if there was none.
func Follow(
	ctx context.Context, c client.WithWatch, key types.NamespacedName, show func(*v1alpha1.TeamTalkMessage) (done bool),
) (*v1alpha1.TeamTalkMessage, error) {
	f := &follower{client: c, key: key, show: show}
	for {
		done, err := f.watchOnce(ctx)
		switch {
		case done:
			return f.last, nil
		case ctx.Err() != nil:
			return f.last, ctx.Err()
		case err != nil && !mayPass(err):
			return f.last, err
		}
		select {
		case <-time.After(followPause):
		case <-ctx.Done():
			return f.last, ctx.Err()
		}
	}
}

// mayPass reports whether an error may be gone at the next try.
func mayPass(err error) bool {
	return !errors.Is(err, errDeleted) && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) &&
		!apierrors.IsUnauthorized(err) && !meta.IsNoMatchError(err)
}

type follower struct {
	client client.WithWatch
	key    types.NamespacedName
	show   func(*v1alpha1.TeamTalkMessage) bool
	last   *v1alpha1.TeamTalkMessage
}

// watchOnce reads the message and watches it until the watch ends.
func (f *follower) watchOnce(ctx context.Context) (done bool, err error) {
	m := &v1alpha1.TeamTalkMessage{}
	if err := f.client.Get(ctx, f.key, m); err != nil {
		if f.last != nil && apierrors.IsNotFound(err) {
			return false, errDeleted
		}
		return false, err
	}
	if f.see(m) {
		return true, nil
	}
	w, err := f.client.Watch(ctx, &v1alpha1.TeamTalkMessageList{}, &client.ListOptions{
		Namespace: f.key.Namespace, FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, f.key.Name),
		Raw: &metav1.ListOptions{ResourceVersion: m.ResourceVersion},
	})
	switch {
	case apierrors.IsForbidden(err):
		return false, nil // Follow reads it again
	case err != nil:
		return false, err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		m, ok := event.Object.(*v1alpha1.TeamTalkMessage)
		if !ok {
			return false, fmt.Errorf("watch the message: %w", apierrors.FromObject(event.Object))
		}
		if f.see(m) {
			return true, nil
		}
		if event.Type == watch.Deleted {
			return false, errDeleted
		}
	}
	return false, nil
}

func (f *follower) see(m *v1alpha1.TeamTalkMessage) bool {
	f.last = m
	return f.show(m)
}
