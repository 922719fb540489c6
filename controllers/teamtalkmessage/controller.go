// Package teamtalkmessage takes TeamTalkMessages to the delivery engine and
// records on them what became of each.
package teamtalkmessage

import (
	"context"
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
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/objectwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/wake"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages/status,verbs=get;update
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch,roleName=teamtalk-operator-configmaps
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

// workers is how many messages are looked at at once. Each look is short: what
// takes time happens in the engine.
const workers = 16

// Reconciler reconciles TeamTalkMessages.
type Reconciler struct {
	// Client reads ConfigMaps live: they are not cached.
	Client client.Client
	// Live reads past the cache.
	Live     client.Reader
	Sessions *connection.Manager
	Engine   *delivery.Engine
	// ConfigMaps wakes a message when a ConfigMap that it waits for appears or changes.
	ConfigMaps *objectwatch.Watcher
	// Wake enqueues a message whose delivery has made progress.
	Wake *wake.Source
	// SessionWake enqueues the messages of a server whose session can be used now.
	SessionWake *wake.Source
	Recorder    events.EventRecorder
	// Term says what an earlier operator may have been sending.
	Term *leadership.Keeper
	// Arrivals keeps the order in which messages are first looked at.
	Arrivals *delivery.Arrivals
	// Observe, if set, is told of every status that has been written. It must not block.
	Observe func(Recorded)

	// store is the cache's, of messages; see behind.
	store versioned
	// announced are the servers whose messages stand in line.
	announced announcements
}

// SetupWithManager adds the controller and its index to the manager.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	r.SessionWake.Map = func(server types.NamespacedName) []types.NamespacedName {
		return r.unfinished(ctx, client.MatchingFields{serverIndex: server.String()})
	}
	var err error
	if r.store, err = storeOf(ctx, mgr.GetCache()); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("teamtalkmessage").
		Watches(&v1alpha1.TeamTalkMessage{}, arrivalHandler{r.Arrivals}).
		Watches(&v1alpha1.TeamTalkServer{}, handler.EnqueueRequestsFromMapFunc(r.messagesOfServer),
			builder.WithPredicates(serverMatters)).
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.messagesOfNamespace),
			builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(r.Wake).
		WatchesRawSource(r.SessionWake).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
}

// Reconcile takes one message a step further.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	noRoom := false
	defer func() {
		if !noRoom {
			r.Engine.NoRoom(req.NamespacedName) // it is submitted, or waits for something else
		}
	}()
	message := &v1alpha1.TeamTalkMessage{}
	if err := r.Client.Get(ctx, req.NamespacedName, message); err != nil {
		if apierrors.IsNotFound(err) {
			r.Engine.ForgetOthers(req.NamespacedName, "")
			r.Arrivals.Gone(req.NamespacedName, "")
			r.ConfigMaps.Release(req.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	r.Engine.ForgetOthers(req.NamespacedName, message.UID)
	r.Arrivals.Gone(req.NamespacedName, message.UID)
	if message.Finished() {
		// Only now: a status that the cache does not show yet must not be sent again.
		r.Engine.Forget(message.UID)
		r.Arrivals.Leave(message.UID, message.ResourceVersion)
		r.ConfigMaps.Release(req.NamespacedName)
		return r.reconcileFinished(ctx, message)
	}
	if !message.DeletionTimestamp.IsZero() {
		r.Arrivals.CheckIn(message.UID)
		return r.reconcileDeleted(ctx, message)
	}
	term, err := r.Term.Term(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	seen, arrived := r.Arrivals.Seen(message.UID)
	if !arrived {
		// Woken by something else before its own event has come: so may be older ones.
		r.Arrivals.Enter(arrivalOf(message))
		return reconcile.Result{RequeueAfter: eventLag}, nil
	}
	leave, ok := r.Engine.TrackReconcile(message.UID)
	if !ok {
		return reconcile.Result{}, nil // the next leader's
	}
	defer leave()
	s := newScope(message, term, seen, time.Now())
	if !s.earlierUntil.IsZero() && r.Arrivals.Yield(message.UID) {
		// Hundreds may be in doubt at once after a leader was lost, and nothing can be
		// sent of them for half a minute: they come when there is nothing else to do; or
		// then, where there always is something.
		time.AfterFunc(yieldAtMost, func() { r.Wake.Wake(req.NamespacedName) })
		return reconcile.Result{RequeueAfter: yieldPause, Priority: new(handler.LowPriority)}, nil
	}
	result, err := r.advance(ctx, s, term)
	noRoom = s.noRoom
	if err != nil || !s.comesAgain() {
		r.Arrivals.CheckIn(message.UID)
	}
	return result, err
}

const (
	// yieldPause is as good as at once; what is enqueued at once keeps its priority.
	yieldPause = time.Millisecond
	// yieldAtMost is when what is in doubt counts as much as everything else.
	yieldAtMost = delivery.PeerPatience
)

// advance takes a message that is not finished a step further.
func (r *Reconciler) advance(ctx context.Context, s *scope, term leadership.Term) (reconcile.Result, error) {
	message := s.message
	if r.lookUp(s); s.restart {
		// On record first: until the status shows that the message has begun anew,
		// it could be edited again, and could begin anew again.
		return r.record(ctx, s)
	}
	if !s.known && !message.CreationTimestamp.After(term.Start.Time) {
		var err error
		// The cache may not show yet what the leader before has recorded.
		if s.again, err = r.behind(ctx, message, term); s.again || err != nil {
			return reconcile.Result{}, err
		}
	}
	for _, phase := range []func(context.Context, *scope) error{
		r.checkDeadline,
		r.checkSuspended,
		r.resolveServer,
		r.checkSender,
		r.checkRecipients,
		r.checkKey,
		r.checkSchedule,
		r.requireKey,
		r.takeTurn,
		r.resolveContent,
		r.findRoom,
		r.stage,
		r.deliver,
	} {
		if err := phase(ctx, s); err != nil {
			return reconcile.Result{}, err
		}
		if s.settled() {
			break
		}
	}
	s.abandon()
	return r.record(ctx, s)
}

// lookUp takes over what the engine knows of the message: it is ahead of the
// status that the cache shows.
func (r *Reconciler) lookUp(s *scope) {
	snapshot, ok := r.Engine.Progress(s.message.UID)
	s.known, s.held = false, false
	switch {
	case !ok:
		return
	case s.restart && !snapshot.Running && failed(snapshot):
		// What the engine knows is the end of the message before its edit.
		r.Engine.Forget(s.message.UID)
		return
	}
	s.restart = false
	for i, p := range snapshot.Recipients {
		if p.CreateTime == 0 && len(s.recipients) == len(snapshot.Recipients) {
			// Staged since: the status has its time, and the engine does not know it yet.
			snapshot.Recipients[i].CreateTime = s.recipients[i].CreateTime
		}
	}
	s.recipients, s.sender, s.revision = snapshot.Recipients, snapshot.Sender, snapshot.Revision
	s.serverKey = snapshot.ServerKey
	// One that was stopped, and has come to its end, is taken up anew from there.
	s.known, s.held = !snapshot.Stopped || snapshot.Running, snapshot.PayloadPending
}

func failed(snapshot delivery.Snapshot) bool {
	for _, p := range snapshot.Recipients {
		if p.State != v1alpha1.StateFailed {
			return false
		}
	}
	return true
}

// reconcileDeleted records what becomes of a message that another's finalizer
// keeps: what has not been sent will not be.
func (r *Reconciler) reconcileDeleted(ctx context.Context, message *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	s := newScope(message, leadership.Term{Clean: true}, "", time.Now())
	if r.lookUp(s); s.revision == 0 {
		return reconcile.Result{}, nil
	}
	s.wait = &v1alpha1.Cause{Reason: v1alpha1.ReasonSending, Message: "the message is being deleted: nothing more is sent"}
	return r.record(ctx, s)
}

// conflictPause is how long after a conflict the message is looked at again if
// nothing has woken it before.
const conflictPause = time.Second

// record writes what is known to the status, if it says anything new.
func (r *Reconciler) record(ctx context.Context, s *scope) (reconcile.Result, error) {
	result := reconcile.Result{RequeueAfter: s.nextLook()}
	if s.quiet || s.later && s.revision == 0 {
		return result, nil
	}
	if s.wait != nil {
		// What keeps the message from being taken on also ends its being sent.
		r.Engine.Stop(s.message.UID)
	}
	if ended := s.revision != 0 && !s.known; !ended && !s.restart {
		r.lookUp(s) // what the phases decided of one that has ended would be lost
	}
	before := s.message.DeepCopy()
	setStatus(s, time.Now())
	began := time.Now()
	changed, err := r.write(ctx, before, s)
	switch {
	case apierrors.IsConflict(err):
		// The object has changed; that change is on its way here and wakes it again.
		// Something between here and the store may have said so without a change,
		// though, and then nothing would.
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	case err != nil:
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if s.revision != 0 {
		r.Engine.Recorded(s.message.UID, s.revision)
	}
	if changed {
		r.report(before, s.message)
		r.observe(before, s, began)
	}
	if s.message.Finished() {
		return reconcile.Result{}, nil
	}
	return result, nil
}
