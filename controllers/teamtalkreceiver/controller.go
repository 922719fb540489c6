// Package teamtalkreceiver says on each TeamTalkReceiver whether it can be used, and
// deletes its messages when their time has come. What is received is not its
// concern: whoever serves receivers makes the messages.
package teamtalkreceiver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/objectwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
	"github.com/teamtalk-io/teamtalk-operator/internal/wake"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkreceivers,verbs=get;list;watch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkreceivers/status,verbs=patch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkservers,verbs=get;list;watch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages,verbs=get;list;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch,roleName=teamtalk-operator-secrets
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

// cacheLag is how long a cache is given to catch up with a conflict.
const cacheLag = 200 * time.Millisecond

// Reconciler reconciles TeamTalkReceivers.
type Reconciler struct {
	// Client reads Secrets live: they are not cached.
	Client client.Client
	// Live reads messages from the API server: the cache drops the labels of those
	// that have finished.
	Live client.Reader
	// Secrets wakes a receiver when its Secret changes.
	Secrets *objectwatch.Watcher
	// Wake enqueues a receiver whose Secret has changed.
	Wake     *wake.Source
	Recorder events.EventRecorder
}

// SetupWithManager adds the controller to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.TeamTalkReceiver{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.TeamTalkServer{}, handler.EnqueueRequestsFromMapFunc(r.receiversOfServer),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesMetadata(namespace, handler.EnqueueRequestsFromMapFunc(r.receiversOfNamespace),
			builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(r.Wake).
		Complete(r)
}

// Reconcile says how one receiver stands, and looks for messages to delete.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	o := &v1alpha1.TeamTalkReceiver{}
	if err := r.Client.Get(ctx, req.NamespacedName, o); err != nil {
		if apierrors.IsNotFound(err) {
			r.Secrets.Release(req.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	first, err := r.check(ctx, o)
	if err != nil {
		return reconcile.Result{}, err
	}
	before := o.DeepCopy()
	setReady(o, first)
	if !equality.Semantic.DeepEqual(before.Status, o.Status) {
		// Others write what was received: the patch is of the conditions alone, but
		// they are a list, which it replaces.
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := r.Client.Status().Patch(ctx, o, patch); err != nil {
			if apierrors.IsConflict(err) {
				return reconcile.Result{RequeueAfter: cacheLag}, nil
			}
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		r.report(before, o)
	}
	return r.expire(ctx, o)
}

// check returns what a user has to mend first; nil: nothing.
func (r *Reconciler) check(ctx context.Context, o *v1alpha1.TeamTalkReceiver) (*v1alpha1.Cause, error) {
	key := client.ObjectKeyFromObject(o)
	if ref := o.SecretRef(); ref == nil {
		r.Secrets.Release(key)
	} else {
		// The watch begins before the read, so that no change falls in between.
		r.Secrets.Watch(key, types.NamespacedName{Namespace: o.Namespace, Name: ref.Name})
		_, err := receiver.LoadSecret(ctx, r.Client, o.Namespace, ref)
		if bad, ok := errors.AsType[*receiver.SecretProblem](err); ok {
			return &v1alpha1.Cause{Reason: v1alpha1.ReasonSecretNotFound, Message: bad.Error()}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if p, err := r.checkServer(ctx, o); p != nil || err != nil {
		return p, err
	}
	if _, err := receiver.ParseTemplates(o); err != nil {
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonTemplateInvalid, Message: err.Error()}, nil //nolint:nilerr // the Cause says it
	}
	return nil, nil
}

// checkServer finds whether the receiver's namespace may use its server, and as its
// sender.
func (r *Reconciler) checkServer(ctx context.Context, o *v1alpha1.TeamTalkReceiver) (*v1alpha1.Cause, error) {
	key := o.ServerKey()
	server, err := tenancy.FindServer(ctx, r.Client, key, o.Namespace)
	if missing, ok := errors.AsType[*tenancy.NotFoundError](err); ok {
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonServerNotFound, Message: missing.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	sender := server.Spec.Senders.Default
	if o.Spec.SenderID != nil {
		sender = *o.Spec.SenderID
	}
	if cause := server.Spec.Senders.Check(sender); cause != nil {
		return cause, nil
	}
	if slices.Contains(o.Spec.To.Users, sender) || o.Spec.Allow != nil && slices.Contains(o.Spec.Allow.Users, sender) {
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonSendToSelf, Message: fmt.Sprintf(
			"user %d is the sender: TeamTalk stores no message to oneself; remove it from to.users and allow.users, or set another senderID", sender)}, nil
	}
	return nil, nil
}

func (r *Reconciler) receiversOfServer(ctx context.Context, server client.Object) []reconcile.Request {
	return r.requests(ctx, func(o *v1alpha1.TeamTalkReceiver) bool {
		return o.ServerKey() == client.ObjectKeyFromObject(server)
	})
}

func (r *Reconciler) receiversOfNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	return r.requests(ctx, func(*v1alpha1.TeamTalkReceiver) bool { return true }, client.InNamespace(namespace.GetName()))
}

// requests lists receivers, which are few.
func (r *Reconciler) requests(ctx context.Context, want func(*v1alpha1.TeamTalkReceiver) bool, opts ...client.ListOption) []reconcile.Request {
	list := &v1alpha1.TeamTalkReceiverList{}
	if err := r.Client.List(ctx, list, opts...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list receivers to wake")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if want(&list.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}
