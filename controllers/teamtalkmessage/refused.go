// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// refusedWrites counts, by UID, the status writes of a message in a row that the API server has refused. The zero value
// is ready to use.
type refusedWrites struct {
	once    sync.Once
	backoff *flowcontrol.Backoff
}

func (w *refusedWrites) byUID() *flowcontrol.Backoff {
	w.once.Do(func() { w.backoff = flowcontrol.NewBackOff(time.Second, 5*time.Minute) })
	return w.backoff
}

// add counts one more, and returns when to retry, and whether it is the first.
func (w *refusedWrites) add(uid types.UID) (delay time.Duration, isFirst bool) {
	b := w.byUID()
	isFirst = b.Get(string(uid)) == 0
	b.Next(string(uid), b.Clock.Now())
	b.GC() // of messages that were deleted
	return b.Get(string(uid)), isFirst
}

// wait returns the time until the next retry, or 0.
func (w *refusedWrites) wait(uid types.UID) time.Duration {
	b := w.byUID()
	if b.IsInBackOffSinceUpdate(string(uid), b.Clock.Now()) {
		return b.Get(string(uid))
	}
	return 0
}

func (w *refusedWrites) reset(uid types.UID) { w.byUID().DeleteEntry(string(uid)) }

// isRefused reports whether the API server has refused a write, and would refuse it again: the object is too large, or
// a policy forbids it. Other errors pass: the API server or a webhook is overloaded or away, or etcd has no leader.
func isRefused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status().Code {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	case http.StatusInternalServerError:
		// The API server passes on etcd's errors as texts: above etcd's limit, and above that of its client.
		message := status.Status().Message
		return strings.Contains(message, "etcdserver: request is too large") ||
			strings.Contains(message, "trying to send message larger than max")
	}
	return false
}

// statusRefused retries a status that the API server has refused, with backoff. The message waits alone: a drain does
// not wait for it, and the next leader asks the store about it first.
func (r *Reconciler) statusRefused(ctx context.Context, s *scope, err error) reconcile.Result {
	delay, isFirst := r.refused.add(s.message.UID)
	if isFirst {
		ctrl.LoggerFrom(ctx).Error(err, "the API server refuses the status of a message; it is retried with backoff, "+
			"and logged once", "uid", string(s.message.UID))
	}
	if s.snapshot != nil {
		r.Engine.Refused(s.message.UID, s.snapshot.Revision)
	}
	if r.OnStatusRefused != nil {
		r.OnStatusRefused(s.serverKey())
	}
	return reconcile.Result{RequeueAfter: delay}
}
