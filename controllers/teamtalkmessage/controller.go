// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

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
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages/status,verbs=get;update
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkgroups,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch,roleName=teamtalk-operator-configmaps
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

// maxConcurrentReconciles is small: the engine, not the reconciler, waits for TeamTalk.
const maxConcurrentReconciles = 16

// Reconciler reconciles TeamTalkMessages.
type Reconciler struct {
	// Client reads unfinished messages from the cache, and ConfigMaps from the API server.
	Client client.Client
	// Live reads and watches messages in the API server.
	Live     client.WithWatch
	Sessions *connection.Manager
	Engine   *delivery.Engine
	// ConfigMaps wakes a message when a ConfigMap that it waits for appears or changes.
	ConfigMaps *apiwatch.Objects
	// Wake enqueues a message whose delivery has made progress.
	Wake *apiwatch.Trigger
	// SessionWake enqueues the messages of a server whose session has become usable.
	SessionWake *apiwatch.Trigger
	Recorder    events.EventRecorder
	// Term tells which messages an earlier operator may have been sending.
	Term *leadership.TermTracker
	// Claims are the servers that this process may send through.
	Claims *leadership.Claims
	// Gate returns nil while this process may send.
	Gate func() error
	// OnStatusWrite, if set, is called after every write of a status. It must not block.
	OnStatusWrite func(StatusWrite)
	// OnStatusRefused, if set, is called after each write of a status that the API server has refused, with the server or
	// an empty name. It must not block.
	OnStatusRefused func(server types.NamespacedName)
	// OnReadDecided, if set, is called when a readPolicy is decided, with the server or an empty name, and the reason of
	// the condition Read. It must not block.
	OnReadDecided func(server types.NamespacedName, reason string)

	// Receipts tracks which users have read which messages.
	Receipts *readreceipt.Tracker

	// escalating holds the escalations that have begun and not ended, by key.
	escalating sync.Map
	// readWake enqueues a message that has finished and may have been read.
	readWake apiwatch.Trigger
	// readDue enqueues it through readWake at a later time.
	readDue dueReads
	// store is the store of the message cache. See isStale.
	store      versioned
	serverSeen seenServers
	// written holds the messages whose status this process has written, by name. See isStale.
	written sync.Map
	refused refusedWrites
	// fresh holds the messages, by name, that no earlier operator was sending when this process first reconciled them. See
	// isFresh.
	fresh sync.Map
}

// SetupWithManager adds the controller and its index to the manager.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.TeamTalkMessage{}, serverIndex, indexByServer)
	if err != nil {
		return fmt.Errorf("index messages by server: %w", err)
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.TeamTalkMessage{}, refIndex, indexByRef); err != nil {
		return fmt.Errorf("index messages by TeamTalkGroup: %w", err)
	}
	r.SessionWake.Map = func(server types.NamespacedName) []types.NamespacedName {
		return append(r.requeueUnfinished(ctx, client.MatchingFields{serverIndex: server.String()}),
			r.escalations(sendsThrough(server))...)
	}
	if r.store, err = storeOf(ctx, mgr.GetCache()); err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(mgr).
		Named("teamtalkmessage").
		Watches(&v1alpha1.TeamTalkMessage{}, eventHandler{r.Engine}).
		Watches(&v1alpha1.TeamTalkServer{}, requeueHandler(r.messagesOfServer),
			builder.WithPredicates(serverMatters)).
		Watches(&v1alpha1.TeamTalkGroup{}, requeueHandler(r.messagesOfGroup),
			builder.WithPredicates(groupMatters)).
		WatchesMetadata(&corev1.Namespace{}, requeueHandler(r.messagesOfNamespace),
			builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(r.Wake).
		WatchesRawSource(r.SessionWake).
		WithOptions(controller.Options{MaxConcurrentReconciles: maxConcurrentReconciles}).
		Complete(r)
	if err != nil {
		return err
	}
	return r.setupFinished(mgr)
}

// Reconcile reconciles one message.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if escalated, ok := v1alpha1.EscalationOf(req.NamespacedName); ok {
		return r.reconcileEscalation(ctx, req.NamespacedName, escalated)
	}
	message, err := r.readMessage(ctx, req.NamespacedName)
	if err != nil {
		return reconcile.Result{}, err
	}
	r.Engine.Sync(delivery.Object{
		Key: req.NamespacedName, UID: message.UID, ResourceVersion: message.ResourceVersion, Finished: message.Finished(),
	})
	if _, isEscalating := r.escalating.Load(v1alpha1.EscalationKey(req.NamespacedName)); isEscalating ||
		message.Escalating() {
		// While the message is retried or edited, nothing else shows its escalation, nor that both are deleted.
		r.Wake.Wake(v1alpha1.EscalationKey(req.NamespacedName))
	}
	switch {
	case message.UID == "" || message.Finished():
		r.forget(req.NamespacedName)
		return reconcile.Result{}, nil
	case !message.DeletionTimestamp.IsZero():
		r.Engine.Queue.Done(message.UID)
		return r.recordDeleted(ctx, newScope(message, leadership.Term{Clean: true}, time.Now()))
	}
	return r.reconcileUnfinished(ctx, message)
}

// readMessage returns the message with the name. If its UID is empty, it was deleted or has finished. A message that
// the cache does not show may still exist. If the engine has work left for it, it is read from the API server.
func (r *Reconciler) readMessage(ctx context.Context, key types.NamespacedName) (*v1alpha1.TeamTalkMessage, error) {
	m := &v1alpha1.TeamTalkMessage{}
	err := r.Client.Get(ctx, key, m)
	if apierrors.IsNotFound(err) && r.Engine.Busy(key) {
		err = r.Live.Get(ctx, key, m)
	}
	return m, client.IgnoreNotFound(err)
}

// forget drops the state of a message that was deleted or has finished.
func (r *Reconciler) forget(key types.NamespacedName) {
	r.ConfigMaps.Release(key)
	r.Engine.ForgetNames(nameRequester(key))
	r.written.Delete(key)
	r.fresh.Delete(key)
}

// reconcileUnfinished runs the phases over a message, and records the outcome.
func (r *Reconciler) reconcileUnfinished(ctx context.Context, m *v1alpha1.TeamTalkMessage) (reconcile.Result, error) {
	return r.reconcileScope(ctx, m, func(term leadership.Term) *scope { return newScope(m, term, time.Now()) })
}

// reconcileScope implements reconcileUnfinished for a message or an escalation.
func (r *Reconciler) reconcileScope(
	ctx context.Context, m *v1alpha1.TeamTalkMessage, resume func(leadership.Term) *scope,
) (reconcile.Result, error) {
	term, err := r.Term.Term(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	order, known := r.Engine.Queue.Add(queueMessage(m))
	if !known {
		// It was woken before its own event was handled. Events of older messages may be pending, too.
		return reconcile.Result{RequeueAfter: cacheLag}, nil
	}
	end, ok := r.Engine.TrackReconcile(m.UID)
	if !ok {
		return reconcile.Result{}, nil // the next leader reconciles it
	}
	defer end()
	term, claimed := r.Claims.TermOf(m.ServerKey(), term)
	s := resume(term)
	if r.isFresh(m, term) {
		s.dropEarlierDoubts()
	}
	s.order, s.claimed = order, claimed
	r.readProgress(s)
	if !s.isEscalation() {
		s.beginRevision()
	}
	var result reconcile.Result
	out, err := r.runPhases(ctx, s)
	if err == nil {
		s.abandonDoubts(out)
		result, err = r.record(ctx, s, out)
	}
	if s.revisionRecorded {
		// From now on it is another message, with other recipients and a new place in the queue.
		r.Engine.Forget(m.UID)
		r.Engine.Queue.Delete(client.ObjectKeyFromObject(m), "", "")
		return result, err
	}
	// A refused status is retried with backoff, up to minutes: no other message waits for that.
	if err != nil || !out.keepsPlace || r.refused.wait(m.UID) > 0 {
		r.Engine.Queue.Done(m.UID)
	} else {
		r.Engine.Queue.Keep(m.UID)
	}
	return result, err
}

// runPhases runs the phases in order until one does not return actionContinue, and returns its outcome.
func (r *Reconciler) runPhases(ctx context.Context, s *scope) (outcome, error) {
	if out, err := r.requireClaim(ctx, s); err != nil || out.action != actionContinue {
		return out, err
	}
	if s.isEscalation() {
		return r.runEscalation(ctx, s)
	}
	if s.origin == originEdit {
		// Until the status records the restart, another edit would start the message again.
		return recordFirst, nil
	}
	if isStale, err := r.isStale(ctx, s); isStale || err != nil {
		return stale, err
	}
	if s.origin == originSuperseded {
		return r.endFormerRevision(ctx, s)
	}
	return runUntilEnded(ctx, s, r.deliveryPhases()...)
}

// deliveryPhases returns the phases of a message or an escalation.
func (r *Reconciler) deliveryPhases() []phase {
	return []phase{
		check(checkResolved),
		check(checkStatusSize),
		check(checkDeadline),
		check(checkSuspended),
		r.resolveServer,
		check(checkEarlierDoubts),
		check(checkSender),
		check(checkRecipients),
		check(checkIdempotencyKey),
		check(checkSchedule),
		r.requireAESKey,
		check(r.awaitServerEvent),
		r.loadContent,
		check(makePayload),
		r.resolveRefs,
		check(r.resolveNames),
		r.resolveEscalation,
		check(r.admit),
		check(r.stageCreateTime),
		r.submit,
	}
}

// runUntilEnded runs phases until one does not return actionContinue, or until no recipient is left.
func runUntilEnded(ctx context.Context, s *scope, phases ...phase) (outcome, error) {
	for _, phase := range phases {
		out, err := phase(ctx, s)
		if err != nil || out.action != actionContinue {
			return out, err
		}
		if s.unfinished() == 0 {
			return done, nil
		}
	}
	return done, nil
}

// recordDeleted records the end of a message that is being deleted, but is kept by a finalizer of another controller.
// Nothing more is sent.
func (r *Reconciler) recordDeleted(ctx context.Context, s *scope) (reconcile.Result, error) {
	if r.readProgress(s); s.snapshot == nil {
		return reconcile.Result{}, nil
	}
	return r.record(ctx, s, waitFor(v1alpha1.ReasonSending, "the message is being deleted: nothing more is sent"))
}
