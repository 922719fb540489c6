// SPDX-License-Identifier: Apache-2.0

package teamtalkschedule

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/schedule"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkschedules,verbs=get;list;watch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkschedules/status,verbs=patch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages,verbs=create;delete;get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

const (
	// maxConcurrentReconciles bounds the requests to the API server when many schedules are due at once. The status writes
	// of messages take turns with them: with 16, 1,000 messages take 1.5 times as long as those of a bare client.
	maxConcurrentReconciles = 32
	// A refused message is retried at intervals that double within these limits, so that it does not miss a short
	// deadline.
	minRetryInterval, maxRetryInterval = 100 * time.Millisecond, 30 * time.Second
	// maxInterval is the longest time until a change of the clock is noticed.
	maxInterval = 10 * time.Minute
	// cacheLag is the longest time until the cache shows the change that caused a conflict.
	cacheLag = 200 * time.Millisecond
	// afterCreation is the priority of work after the creation of a message: all due messages are created first, also
	// those that a new leader finds.
	afterCreation = handler.LowPriority - 1
)

// Result is the result of a scheduled time.
type Result string

// Results of a scheduled time.
const (
	ResultCreated Result = "created"
	ResultMissed  Result = "missed"
	ResultFailed  Result = "failed"
)

// Reconciler reconciles TeamTalkSchedules.
type Reconciler struct {
	Client client.Client
	// Live reads messages from the API server: the cache does not hold those that have finished.
	Live     client.WithWatch
	Clock    clock.PassiveClock
	Recorder events.EventRecorder
	// OnTime is called for each scheduled time that is done, and for each refusal of the API server.
	OnTime func(Result)

	// created are the latest messages that were created and are not recorded yet, by schedule: the cache may not show
	// their record yet.
	created sync.Map // types.NamespacedName → creation
}

// creation is the scheduled time of a message that was created. The message is nil if it existed already.
type creation struct {
	uid     types.UID
	at      time.Time
	message *v1alpha1.TeamTalkMessage
}

// SetupWithManager adds the controller to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.TeamTalkSchedule{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.TeamTalkMessage{}, messageEnded).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: maxConcurrentReconciles,
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](
				minRetryInterval, maxRetryInterval),
		}).
		Complete(r)
}

// messageEnded enqueues the schedule of a message that has finished or was deleted: the cache holds only the others.
// What is due is created first: when many schedules are due at once, messages end while others are still to be created.
var messageEnded = handler.Funcs{DeleteFunc: func(
	_ context.Context, e event.DeleteEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request],
) {
	owner := metav1.GetControllerOf(e.Object)
	if owner == nil || owner.Kind != "TeamTalkSchedule" {
		return
	}
	req := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: e.Object.GetNamespace(), Name: owner.Name}}
	if byPriority, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		byPriority.AddWithOpts(priorityqueue.AddOpts{Priority: new(afterCreation)}, req)
	} else {
		queue.Add(req)
	}
}}

// Reconcile creates the message that is due, or else writes the status and deletes messages over the history limits.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	result, err := r.reconcile(ctx, req)
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: cacheLag}, nil
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	o := &v1alpha1.TeamTalkSchedule{}
	if err := r.Client.Get(ctx, req.NamespacedName, o); err != nil {
		if apierrors.IsNotFound(err) {
			r.created.Delete(req.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !o.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil // the garbage collector deletes its messages
	}
	before := o.DeepCopy()
	times, err := check(o)
	if err != nil {
		o.Status.NextScheduleTime = nil
		setStalled(o, err)
		return reconcile.Result{}, r.complete(ctx, before, o)
	}
	now := r.Clock.Now()
	setHandled(o, now)
	if o.Suspended() {
		o.Status.NextScheduleTime = nil
		setReady(o)
		return reconcile.Result{RequeueAfter: maxInterval}, r.complete(ctx, before, o)
	}
	plan := times.Plan(o.Status.HandledUntil.Time, now, o.Deadline())
	if wasSuspended(before) && !plan.LastMissed.IsZero() {
		o.Status.HandledUntil = new(metav1.NewTime(plan.LastMissed))
		plan = times.Plan(plan.LastMissed, now, o.Deadline())
	}
	created, ok := r.creationOf(o, plan.Due)
	if due := plan.Due; !due.IsZero() && !ok {
		message, err := r.create(ctx, o, due)
		if err != nil {
			return r.refused(ctx, before, o, due, err)
		}
		r.created.Store(req.NamespacedName, creation{o.UID, due, message})
		return reconcile.Result{RequeueAfter: time.Millisecond, Priority: new(afterCreation)}, nil
	}
	record(o, plan)
	if err := r.complete(ctx, before, o); err != nil {
		return reconcile.Result{}, err
	}
	if m := created.message; m != nil { // not earlier: each event is a request
		r.Recorder.Eventf(o, m, "Normal", v1alpha1.ReasonMessageCreated, "Create", "created message %s", m.Name)
	}
	if !plan.LastMissed.IsZero() {
		r.OnTime(ResultMissed)
		r.Recorder.Eventf(o, nil, "Warning", v1alpha1.ReasonTimesMissed, "Schedule", "%s", missed(o, plan))
	}
	next := min(max(plan.Next.Sub(r.Clock.Now()), time.Millisecond), maxInterval)
	return reconcile.Result{RequeueAfter: next, Priority: new(0)}, nil // the next message has priority again
}

// creationOf returns the creation of the message of a scheduled time. It returns false if this process has none.
func (r *Reconciler) creationOf(o *v1alpha1.TeamTalkSchedule, at time.Time) (creation, bool) {
	last, _ := r.created.Load(client.ObjectKeyFromObject(o))
	c, ok := last.(creation)
	if !ok || c.uid != o.UID || !c.at.Equal(at) {
		return creation{}, false
	}
	return c, true
}

// record records the completed part of a plan in the status, which is not written yet.
func record(o *v1alpha1.TeamTalkSchedule, p schedule.Plan) {
	if !p.LastMissed.IsZero() {
		o.Status.HandledUntil = new(metav1.NewTime(p.LastMissed))
	}
	if !p.Due.IsZero() {
		o.Status.HandledUntil = new(metav1.NewTime(p.Due))
		o.Status.LastScheduleTime = o.Status.HandledUntil.DeepCopy()
	}
	o.Status.NextScheduleTime = nil
	if !p.Next.IsZero() {
		o.Status.NextScheduleTime = new(metav1.NewTime(p.Next))
	}
	setReady(o)
}

// complete writes the status if it has changed, and then deletes messages over the history limits. A message that is
// deleted before its time is recorded would be created again.
func (r *Reconciler) complete(ctx context.Context, before, o *v1alpha1.TeamTalkSchedule) error {
	h, err := r.readHistory(ctx, o)
	if err != nil {
		return err
	}
	if err := r.writeStatus(ctx, before, o); err != nil {
		return err
	}
	return errors.Join(
		r.deleteOver(ctx, h.delivered, o.Spec.SuccessfulHistoryLimit),
		r.deleteOver(ctx, h.failed, o.Spec.FailedHistoryLimit),
	)
}

func (r *Reconciler) writeStatus(ctx context.Context, before, o *v1alpha1.TeamTalkSchedule) error {
	if equality.Semantic.DeepEqual(before.Status, o.Status) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, o, patch); err != nil {
		return client.IgnoreNotFound(err)
	}
	if kind, ready := v1alpha1.ReadyEvent(before.Status.Conditions, o.Status.Conditions); kind != "" {
		r.Recorder.Eventf(o, nil, kind, ready.Reason, "Check", "%s", ready.Message)
	}
	return nil
}
