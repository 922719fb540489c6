package teamtalkmessage

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// eventLag is how long a message that is in the cache already is given for its
// event, which comes right behind. Coming, it wakes the message before.
const eventLag = 100 * time.Millisecond

// arrivalOf is a message as the register knows it.
func arrivalOf(m *v1alpha1.TeamTalkMessage) delivery.Arrival {
	key := client.ObjectKeyFromObject(m)
	return delivery.Arrival{
		Key: key, UID: m.UID, Version: m.ResourceVersion, Server: m.ServerKey(),
		Order:      delivery.Order{Created: m.CreationTimestamp.Time, Seen: m.ResourceVersion, Name: key.String()},
		Recipients: recipientsOf(m.Spec.To),
	}
}

// arrivalHandler enters messages in the register as their events come, which is in
// order, and enqueues them. All with one priority: controller-runtime's own
// handler puts those that are there at the start behind those that come later.
type arrivalHandler struct{ arrivals *delivery.Arrivals }

var _ handler.EventHandler = arrivalHandler{}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Create implements handler.EventHandler. It spares a start the look at every
// message that is long done, and of which nothing is asked.
func (h arrivalHandler) Create(_ context.Context, e event.CreateEvent, q queue) {
	m, ok := e.Object.(*v1alpha1.TeamTalkMessage)
	switch {
	case !ok:
	case !m.Finished():
		h.arrivals.Enter(arrivalOf(m))
		enqueue(q, m)
	case !m.ExpiresAt().IsZero() || m.RetryAsked():
		enqueue(q, m)
	}
}

// Update implements handler.EventHandler.
func (h arrivalHandler) Update(_ context.Context, e event.UpdateEvent, q queue) {
	m, ok := e.ObjectNew.(*v1alpha1.TeamTalkMessage)
	switch {
	case !ok:
		return
	case !m.Finished():
		h.arrivals.Enter(arrivalOf(m)) // one that had finished may have been edited
	case e.ObjectOld.GetResourceVersion() == m.ResourceVersion:
		return // a resync of what is long done
	}
	enqueue(q, m)
}

// Delete implements handler.EventHandler.
func (h arrivalHandler) Delete(_ context.Context, e event.DeleteEvent, q queue) {
	h.arrivals.Gone(client.ObjectKeyFromObject(e.Object), "")
	enqueue(q, e.Object)
}

// Generic implements handler.EventHandler.
func (arrivalHandler) Generic(context.Context, event.GenericEvent, queue) {}

func enqueue(q queue, o client.Object) {
	q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
}

// takeTurn lets older messages be submitted first, which other workers may be at
// work on: it comes again when they are. What is under way has had its turn.
func (r *Reconciler) takeTurn(_ context.Context, s *scope) (outcome, error) {
	switch {
	case s.underWay():
	case !r.announced.has(s.server):
		return requeue(eventLag), nil
	case !r.Arrivals.Turn(s.message.UID):
		return requeue(0), nil
	}
	return proceed, nil
}

// announcements are the servers, by generation, for which all messages that waited for
// them stand in line. The cache shows a server before its event comes: a message that
// is looked at in between must not pass those that have checked in without it. The
// zero value is ready to use.
type announcements struct {
	mu      sync.Mutex
	servers map[types.NamespacedName]announcement
}

type announcement struct {
	uid        types.UID
	generation int64
}

// heard says that all messages of the server stand in line.
func (a *announcements) heard(server client.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.servers == nil {
		a.servers = map[types.NamespacedName]announcement{}
	}
	a.servers[client.ObjectKeyFromObject(server)] = announcement{server.GetUID(), server.GetGeneration()}
}

// has reports whether they do, for the server as it is here.
func (a *announcements) has(server client.Object) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	heard := a.servers[client.ObjectKeyFromObject(server)]
	return heard.uid == server.GetUID() && heard.generation >= server.GetGeneration()
}

// findRoom has a message wait while too much of its server is under way: it comes
// again when there is room. It is the last thing to wait for: who is called comes in.
func (r *Reconciler) findRoom(_ context.Context, s *scope) (outcome, error) {
	if s.underWay() || r.Engine.Room(s.serverKey(), client.ObjectKeyFromObject(s.message), s.unfinished(), s.order) {
		return proceed, nil
	}
	out := requeue(0)
	out.awaitsRoom = true
	return out, nil
}
