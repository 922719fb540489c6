// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestRequeueHandler: no message is requeued without a reconciliation after it. It would block those behind it.
func TestRequeueHandler(t *testing.T) {
	message := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "chat", Name: "m"}}
	server := &v1alpha1.TeamTalkServer{}
	for name, happen := range map[string]func(h handler.EventHandler, w workQueue){
		"created": func(h handler.EventHandler, w workQueue) {
			h.Create(t.Context(), event.CreateEvent{Object: server}, w)
		},
		"deleted": func(h handler.EventHandler, w workQueue) {
			h.Delete(t.Context(), event.DeleteEvent{Object: server}, w)
		},
		"updated": func(h handler.EventHandler, w workQueue) {
			h.Update(t.Context(), event.UpdateEvent{ObjectOld: server, ObjectNew: server.DeepCopy()}, w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
			defer w.ShutDown()
			requeued := 0
			happen(requeueHandler(func(context.Context, client.Object) []reconcile.Request {
				requeued++
				if w.Len() > 0 { // a worker takes it
					taken, _ := w.Get()
					w.Done(taken)
				}
				return []reconcile.Request{message}
			}), w)
			if requeued == 0 || w.Len() != 1 {
				t.Errorf("requeued %d times; then %d are to be reconciled", requeued, w.Len())
			}
		})
	}
}
