package teamtalkmessage

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
)

// eventHandler adds unfinished messages to the queue as their events come, which is in
// order, and enqueues them, all with one priority: controller-runtime's own handler puts
// those of the first list behind those that come later.
type eventHandler struct{ queue *queue.Queue }

var _ handler.EventHandler = eventHandler{}

type workQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Create implements handler.EventHandler. It skips finished messages at startup, unless
// something is to be done for them.
func (h eventHandler) Create(_ context.Context, e event.CreateEvent, w workQueue) {
	m, ok := e.Object.(*v1alpha1.TeamTalkMessage)
	switch {
	case !ok:
	case !m.Finished():
		h.queue.Add(queueMessage(m))
		enqueue(w, m)
	case !m.ExpiresAt().IsZero() || m.RetryAsked():
		enqueue(w, m)
	}
}

// Update implements handler.EventHandler.
func (h eventHandler) Update(_ context.Context, e event.UpdateEvent, w workQueue) {
	m, ok := e.ObjectNew.(*v1alpha1.TeamTalkMessage)
	switch {
	case !ok:
		return
	case !m.Finished():
		h.queue.Add(queueMessage(m)) // one that had finished may have been edited
	case e.ObjectOld.GetResourceVersion() == m.ResourceVersion:
		return // a resync of a finished message
	}
	enqueue(w, m)
}

// Delete implements handler.EventHandler.
func (h eventHandler) Delete(_ context.Context, e event.DeleteEvent, w workQueue) {
	h.queue.Delete(client.ObjectKeyFromObject(e.Object), "", "")
	enqueue(w, e.Object)
}

// Generic implements handler.EventHandler.
func (eventHandler) Generic(context.Context, event.GenericEvent, workQueue) {}

func enqueue(w workQueue, o client.Object) {
	w.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
}

// queueMessage returns a message as the queue knows it.
func queueMessage(m *v1alpha1.TeamTalkMessage) queue.Message {
	key := client.ObjectKeyFromObject(m)
	return queue.Message{
		Key: key, UID: m.UID, ResourceVersion: m.ResourceVersion, Server: m.ServerKey(), Recipients: m.Spec.To.All(),
		Order: queue.Order{Created: m.CreationTimestamp.Time, Seen: m.ResourceVersion, Name: key.String()},
	}
}
