// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
)

// eventHandler adds unfinished messages to the queue in the order of their events, and enqueues them with one
// priority. controller-runtime's own handler puts those of the first list last. It tells the engine of their times: a
// message that is staged later must have another.
type eventHandler struct{ engine *delivery.Engine }

var _ handler.EventHandler = eventHandler{}

type workQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Create implements handler.EventHandler.
func (h eventHandler) Create(_ context.Context, e event.CreateEvent, w workQueue) {
	h.addUnfinished(e.Object, w)
}

// Update implements handler.EventHandler.
func (h eventHandler) Update(_ context.Context, e event.UpdateEvent, w workQueue) {
	h.addUnfinished(e.ObjectNew, w)
}

func (h eventHandler) addUnfinished(o client.Object, w workQueue) {
	if m, ok := o.(*v1alpha1.TeamTalkMessage); ok && !m.Finished() {
		addStaged(h.engine, m)
		h.engine.Queue.Add(queueMessage(m))
		enqueue(w, m)
	}
}

func addStaged(engine *delivery.Engine, m *v1alpha1.TeamTalkMessage) {
	for _, r := range m.Status.Recipients {
		if r.CreateTime != nil && m.Status.SenderID != nil {
			engine.AddStaged(m.ServerKey(), uint32(*m.Status.SenderID), r.Recipient(), uint32(r.CreateTime.Unix()))
		}
	}
}

// Delete implements handler.EventHandler: the message is deleted, or has finished.
func (h eventHandler) Delete(_ context.Context, e event.DeleteEvent, w workQueue) {
	h.engine.Queue.Delete(client.ObjectKeyFromObject(e.Object), "", "")
	enqueue(w, e.Object)
}

// Generic implements handler.EventHandler.
func (eventHandler) Generic(context.Context, event.GenericEvent, workQueue) {}

func enqueue(w workQueue, o client.Object) {
	w.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
}

// queueMessage returns a message for the queue.
func queueMessage(m *v1alpha1.TeamTalkMessage) queue.Message {
	key := client.ObjectKeyFromObject(m)
	return queue.Message{
		Key: key, UID: m.UID, ResourceVersion: m.ResourceVersion, Server: m.ServerKey(), Recipients: queueRecipients(m),
		Order: queue.Order{Created: m.Begins(), Seen: m.ResourceVersion, Name: key.String()},
	}
}

// serverIndex finds the unfinished messages of a server, or of anyServer.
const serverIndex, anyServer = "spec.serverRef", "*"

func indexByServer(o client.Object) []string {
	m, ok := o.(*v1alpha1.TeamTalkMessage)
	if !ok || m.Finished() {
		return nil
	}
	return []string{m.ServerKey().String(), anyServer}
}

// serverMatters selects events of a server that may unblock its messages.
var serverMatters = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*v1alpha1.TeamTalkServer)
		after, ok2 := e.ObjectNew.(*v1alpha1.TeamTalkServer)
		if !ok1 || !ok2 || before.UID != after.UID || before.Generation != after.Generation ||
			before.Status.ObservedGeneration != after.Status.ObservedGeneration ||
			!equality.Semantic.DeepEqual(endpointRefusal(before), endpointRefusal(after)) {
			return true
		}
		key := func(s *v1alpha1.TeamTalkServer) *metav1.Condition {
			return meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionKeyLoaded)
		}
		// Messages that wait for their turn show that db_proxy is away. They are woken by the session once it is back.
		connected := func(s *v1alpha1.TeamTalkServer) bool {
			return meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionDBProxyConnected)
		}
		return !equality.Semantic.DeepEqual(key(before), key(after)) || connected(before) && !connected(after)
	},
}

// requeueHandler returns a handler that calls requeue once for each event, and then enqueues the messages that it
// returns. requeue gives these their places in the queue, so each must be reconciled after the call.
// handler.EnqueueRequestsFromMapFunc calls it twice for an update, and enqueues a message only after the first call.
func requeueHandler(requeue func(context.Context, client.Object) []reconcile.Request) handler.EventHandler {
	add := func(ctx context.Context, o client.Object, w workQueue) {
		for _, request := range requeue(ctx, o) {
			w.Add(request)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, w workQueue) { add(ctx, e.Object, w) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, w workQueue) { add(ctx, e.ObjectNew, w) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, w workQueue) { add(ctx, e.Object, w) },
	}
}

// messagesOfServer requeues the messages of a server.
func (r *Reconciler) messagesOfServer(ctx context.Context, server client.Object) []reconcile.Request {
	requests := r.requests(ctx, client.MatchingFields{serverIndex: client.ObjectKeyFromObject(server).String()})
	escalations := r.escalations(sendsThrough(client.ObjectKeyFromObject(server)))
	r.serverSeen.add(server)
	return append(requests, escalationRequests(escalations)...)
}

// messagesOfNamespace requeues the messages of a namespace that a server may now permit, or no longer.
func (r *Reconciler) messagesOfNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	r.Engine.Queue.RefreshAdmits()
	return append(
		r.requests(ctx, client.InNamespace(namespace.GetName()), client.MatchingFields{serverIndex: anyServer}),
		escalationRequests(r.escalations(isIn(namespace.GetName())))...)
}

func (r *Reconciler) requests(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	var requests []reconcile.Request
	for _, key := range r.requeueUnfinished(ctx, opts...) {
		requests = append(requests, reconcile.Request{NamespacedName: key})
	}
	return requests
}

// requeueUnfinished gives the selected messages their places in the queue before any of them is reconciled.
func (r *Reconciler) requeueUnfinished(ctx context.Context, opts ...client.ListOption) []types.NamespacedName {
	list := &v1alpha1.TeamTalkMessageList{}
	if err := r.Client.List(ctx, list, opts...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list messages to requeue")
		return nil
	}
	var keys []types.NamespacedName
	for i := range list.Items {
		if m := &list.Items[i]; !m.Finished() {
			if !r.Engine.Knows(m.UID) {
				r.Engine.Queue.Requeue(m.UID)
			}
			keys = append(keys, client.ObjectKeyFromObject(m))
		}
	}
	return keys
}
