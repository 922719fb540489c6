// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/chatgroup"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkgroups,verbs=get;list;watch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkgroups/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

const (
	// maxConcurrentReconciles limits the groups that are changed concurrently. Requests about groups are serialized per
	// db_proxy, and a db_proxy that hangs must not block the groups of others.
	maxConcurrentReconciles = 16
	// driftInterval is how often the members of a group are compared with the declared ones. refusedInterval is how often
	// a refused group is retried without an event.
	driftInterval, refusedInterval = 5 * time.Minute, 10 * time.Minute
	// announceInterval is how often an announcement is retried that no router has accepted.
	announceInterval = 10 * time.Second
	// cacheLag is the longest time until the cache shows the change that caused a conflict.
	cacheLag = 200 * time.Millisecond
	// notifyDelay limits how often notifies of a router cause a read of a group. A router relays notifies of
	// unauthenticated senders.
	notifyDelay = time.Second
)

// Session is a session of a TeamTalkServer.
type Session interface {
	chatgroup.TeamTalk
	// WaitReady returns nil once db_proxy is connected and a key is loaded, or an error when ctx is done.
	WaitReady(ctx context.Context) error
}

// Claims are the servers that this process may use.
type Claims interface {
	TermOf(server types.NamespacedName, own leadership.Term) (term leadership.Term, claimed bool)
	Holds(server types.NamespacedName, uid types.UID) bool
	Refused(server types.NamespacedName) *v1alpha1.Cause
}

// Reconciler reconciles TeamTalkGroups.
type Reconciler struct {
	Client client.Client
	// Session returns the session of a server. It returns false if there is none.
	Session func(server types.NamespacedName) (Session, bool)
	// Engine sends the messages about changes of members. It is drained at a shutdown.
	Engine *delivery.Engine
	// Term waits for the term of this process.
	Term     func(ctx context.Context) (leadership.Term, error)
	Claims   Claims
	Recorder events.EventRecorder
	// Wake enqueues a group that another peer of a router has changed.
	Wake apiwatch.Trigger

	// memories hold the in-memory state of groups, as *memory by name.
	memories sync.Map
	// locked are the resources that manage a group at the moment, by sharedGroup. versions are those of the statuses that
	// this process has written, by UID.
	locked, versions sync.Map
	// managed holds the resources by managedGroup, to find the resource that a router's notify is about.
	managed sync.Map
}

// managedGroup is a group of a server.
type managedGroup struct {
	server types.NamespacedName
	id     uint32
}

// memory is the state of a group that is not in its status.
type memory struct {
	uid types.UID
	// attemptEnded is when the last attempt to create the group ended. If it was not answered, it is when its connection
	// ended.
	attemptEnded time.Time
	// absent names the item that TeamTalk did not show, since absentSince.
	absent      string
	absentSince time.Time
	// tries counts the passes since the last success.
	tries int
	// announcements holds those that no router has accepted yet.
	announcements []announcement
	// namesOf is the generation whose names were looked up last.
	namesOf int64
	// changing is the generation for which members are being changed, or 0.
	changing int64
	// changed is true if this process has changed the group.
	changed bool
	managed managedGroup
}

// SetupWithManager adds the controller and its indexes to the manager.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	for index, values := range map[string]client.IndexerFunc{groupIndex: indexByGroup, serverIndex: indexByServer} {
		if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.TeamTalkGroup{}, index, values); err != nil {
			return fmt.Errorf("index groups by %s: %w", index, err)
		}
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("teamtalkgroup").
		Watches(&v1alpha1.TeamTalkGroup{}, eventHandler{r}).
		Watches(&v1alpha1.TeamTalkServer{}, handler.EnqueueRequestsFromMapFunc(r.groupsOfServer),
			builder.WithPredicates(serverMatters)).
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.groupsOfNamespace),
			builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(&r.Wake).
		WithOptions(controller.Options{MaxConcurrentReconciles: maxConcurrentReconciles}).
		Complete(r)
}

// Reconcile reconciles one group.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	g := &v1alpha1.TeamTalkGroup{}
	if err := r.Client.Get(ctx, req.NamespacedName, g); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !g.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil // the group remains
	}
	term, err := r.Term(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	// A drain waits for the requests and the status of this pass.
	end, ok := r.Engine.TrackReconcile(g.UID)
	if !ok {
		return reconcile.Result{}, nil // the next leader reconciles it
	}
	defer end()
	s := newScope(g, r.memoryOf(g), time.Now())
	s.term, s.claimed = r.Claims.TermOf(g.ServerKey(), term)
	defer s.release()
	out, err := r.runPhases(ctx, s)
	var result reconcile.Result
	if err == nil {
		result, err = r.record(ctx, s, out)
	}
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: cacheLag}, nil
	}
	return result, client.IgnoreNotFound(err)
}

// memoryOf returns the memory of a group. It drops the memory of another resource with the same name.
func (r *Reconciler) memoryOf(g *v1alpha1.TeamTalkGroup) *memory {
	key := client.ObjectKeyFromObject(g)
	if known, ok := r.memories.Load(key); ok && known.(*memory).uid == g.UID {
		return known.(*memory)
	}
	r.forget(key)
	m := &memory{uid: g.UID}
	r.memories.Store(key, m)
	return m
}

// forget drops the state of a deleted resource.
func (r *Reconciler) forget(key types.NamespacedName) {
	r.Engine.ForgetNames(nameRequester(key))
	if known, ok := r.memories.LoadAndDelete(key); ok {
		m := known.(*memory)
		r.Engine.Groups.End(m.uid)
		r.versions.Delete(m.uid)
		r.managed.CompareAndDelete(m.managed, key)
	}
}

// runPhases runs the phases in order until one does not return actionContinue, and returns its outcome.
func (r *Reconciler) runPhases(ctx context.Context, s *scope) (outcome, error) {
	for _, phase := range []phase{
		check(r.requireClaim),
		r.resolveServer,
		check(checkMembersPermitted),
		check(checkAdoptable),
		r.requireConnection,
		check(r.resolveNames),
		r.create,
		r.requireOneManager,
		r.readGroup,
		r.changeMembers,
	} {
		out, err := phase(ctx, s)
		if err != nil || out.action != actionContinue {
			return out, err
		}
	}
	return s.ready(), nil
}
