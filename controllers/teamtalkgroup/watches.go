// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"context"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// groupIndex indexes the resources by the group that they manage or are to adopt. serverIndex indexes them by server.
const groupIndex, serverIndex = "status.groupID", "spec.serverRef"

func indexByGroup(o client.Object) []string {
	if g, ok := o.(*v1alpha1.TeamTalkGroup); ok && g.ChatGroup() != 0 {
		return []string{groupKey(g.ChatGroup())}
	}
	return nil
}

func groupKey(id v1alpha1.GroupID) string { return strconv.FormatInt(int64(id), 10) }

func indexByServer(o client.Object) []string {
	if g, ok := o.(*v1alpha1.TeamTalkGroup); ok {
		return []string{g.ServerKey().String()}
	}
	return nil
}

// eventHandler enqueues groups whose spec has changed, and those that declare the same group. Messages to a group wait
// from the event of an edit on.
type eventHandler struct{ r *Reconciler }

var _ handler.EventHandler = eventHandler{}

type workQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Create implements handler.EventHandler.
func (h eventHandler) Create(ctx context.Context, e event.CreateEvent, w workQueue) {
	h.changed(ctx, e.Object, w)
}

// Update implements handler.EventHandler.
func (h eventHandler) Update(ctx context.Context, e event.UpdateEvent, w workQueue) {
	before, ok1 := e.ObjectOld.(*v1alpha1.TeamTalkGroup)
	after, ok2 := e.ObjectNew.(*v1alpha1.TeamTalkGroup)
	if ok1 && ok2 && before.UID == after.UID && before.Generation == after.Generation &&
		before.ChatGroup() == after.ChatGroup() && isRefused(before) == isRefused(after) {
		return
	}
	h.changed(ctx, e.ObjectNew, w)
}

// Delete implements handler.EventHandler.
func (h eventHandler) Delete(ctx context.Context, e event.DeleteEvent, w workQueue) {
	h.r.Engine.Groups.End(e.Object.GetUID())
	h.enqueue(ctx, e.Object, w)
}

// Generic implements handler.EventHandler.
func (eventHandler) Generic(context.Context, event.GenericEvent, workQueue) {}

func (h eventHandler) changed(ctx context.Context, o client.Object, w workQueue) {
	// Only the resource that manages a group, according to its status, may delay messages to it.
	if g, ok := o.(*v1alpha1.TeamTalkGroup); ok && g.Status.GroupID != nil && g.Status.ObservedGeneration != g.Generation {
		h.r.Engine.Groups.Begin(g.UID, g.ServerKey(), uint32(*g.Status.GroupID))
	}
	h.enqueue(ctx, o, w)
}

func (h eventHandler) enqueue(ctx context.Context, o client.Object, w workQueue) {
	if g, ok := o.(*v1alpha1.TeamTalkGroup); ok {
		for _, key := range h.r.withRivals(ctx, []v1alpha1.TeamTalkGroup{*g}) {
			w.Add(reconcile.Request{NamespacedName: key})
		}
	}
}

// serverMatters selects events of a server that may unblock its groups.
var serverMatters = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*v1alpha1.TeamTalkServer)
		after, ok2 := e.ObjectNew.(*v1alpha1.TeamTalkServer)
		return !ok1 || !ok2 || before.UID != after.UID || before.Generation != after.Generation ||
			!ptr.Equal(before.Status.ManagedBy, after.Status.ManagedBy) || isConnected(before) != isConnected(after)
	},
}

func isConnected(s *v1alpha1.TeamTalkServer) bool {
	return meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionDBProxyConnected)
}

func (r *Reconciler) groupsOfServer(ctx context.Context, server client.Object) []reconcile.Request {
	return r.requests(ctx, client.MatchingFields{serverIndex: client.ObjectKeyFromObject(server).String()})
}

// groupsOfNamespace requeues the groups of a namespace that a server may now permit, or no longer.
func (r *Reconciler) groupsOfNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	return r.requests(ctx, client.InNamespace(namespace.GetName()))
}

func (r *Reconciler) requests(ctx context.Context, opts ...client.ListOption) (requests []reconcile.Request) {
	for _, key := range r.withRivals(ctx, r.list(ctx, opts...)) {
		requests = append(requests, reconcile.Request{NamespacedName: key})
	}
	return requests
}

func (r *Reconciler) list(ctx context.Context, opts ...client.ListOption) []v1alpha1.TeamTalkGroup {
	list := &v1alpha1.TeamTalkGroupList{}
	if err := r.Client.List(ctx, list, opts...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list groups to requeue")
	}
	return list.Items
}

// Changed reads a group again after a router has relayed a change of its members. It does not block.
func (r *Reconciler) Changed(server types.NamespacedName, group uint32) {
	if key, ok := r.managed.Load(managedGroup{server, group}); ok {
		r.Wake.WakeWith(priorityqueue.AddOpts{After: notifyDelay}, key.(types.NamespacedName))
	}
}

// manage registers the resource to be woken by routers' notifies about its group.
func (r *Reconciler) manage(s *scope) {
	key := client.ObjectKeyFromObject(s.group)
	s.memory.managed = managedGroup{client.ObjectKeyFromObject(s.server), s.chat.ID}
	r.managed.Store(s.memory.managed, key)
}
