// SPDX-License-Identifier: Apache-2.0

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
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/expression"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkreceivers,verbs=get;list;watch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkreceivers/status,verbs=patch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkservers,verbs=get;list;watch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages,verbs=get;list;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch,roleName=teamtalk-operator-secrets
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

const (
	// cacheLag is the longest time until the cache shows the change that caused a conflict.
	cacheLag = 200 * time.Millisecond
	// A receiver's messages are listed at intervals of half its time to live, within these bounds.
	minExpiryInterval, maxExpiryInterval = 10 * time.Second, time.Hour
	// loginNameRetry is the retry interval for the sender's login name, and loginNameTimeout the timeout of the request.
	loginNameRetry, loginNameTimeout = 10 * time.Second, 2 * time.Second
)

// Reconciler reconciles TeamTalkReceivers.
type Reconciler struct {
	// Client reads Secrets from the API server: they are not cached.
	Client client.Client
	// Live reads messages from the API server: the cache does not hold those that have finished.
	Live client.WithWatch
	// Secrets wakes a receiver when its Secret changes.
	Secrets *apiwatch.Objects
	// Wake enqueues a receiver whose Secret has changed.
	Wake     *apiwatch.Trigger
	Recorder events.EventRecorder
	// LoginName returns the login name of a TeamTalk user, or "" if it is not known now.
	LoginName func(ctx context.Context, server types.NamespacedName, user uint32) string
}

// SetupWithManager adds the controller to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.TeamTalkReceiver{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.TeamTalkServer{}, handler.EnqueueRequestsFromMapFunc(r.receiversOfServer),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.receiversOfNamespace),
			builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(r.Wake).
		Complete(r)
}

// Reconcile checks one receiver, writes its status and deletes its expired messages.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	o := &v1alpha1.TeamTalkReceiver{}
	if err := r.Client.Get(ctx, req.NamespacedName, o); err != nil {
		if apierrors.IsNotFound(err) {
			r.Secrets.Release(req.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	cause, err := r.checkReceiver(ctx, o)
	if err != nil {
		return reconcile.Result{}, err
	}
	isChecked := true
	if cause == nil {
		cause, isChecked = r.checkSenderName(ctx, o)
	}
	before := o.DeepCopy()
	setReady(o, cause)
	setServed(o)
	if !equality.Semantic.DeepEqual(before.Status, o.Status) {
		// The gateway writes other fields. A patch replaces the list of conditions: hence the lock.
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := r.Client.Status().Patch(ctx, o, patch); err != nil {
			if apierrors.IsConflict(err) {
				return reconcile.Result{RequeueAfter: cacheLag}, nil
			}
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		if kind, ready := v1alpha1.ReadyEvent(before.Status.Conditions, o.Status.Conditions); kind != "" {
			r.Recorder.Eventf(o, nil, kind, ready.Reason, "Check", "%s", ready.Message)
		}
	}
	if !isChecked {
		return reconcile.Result{RequeueAfter: loginNameRetry}, nil // its messages expire later
	}
	return r.deleteExpired(ctx, o)
}

// checkReceiver returns the first cause that the user must fix, or nil.
func (r *Reconciler) checkReceiver(ctx context.Context, o *v1alpha1.TeamTalkReceiver) (*v1alpha1.Cause, error) {
	key := client.ObjectKeyFromObject(o)
	if name := o.SecretName(); name == "" {
		r.Secrets.Release(key)
	} else {
		// The watch begins before the read, so that no change is missed.
		r.Secrets.Watch(key, types.NamespacedName{Namespace: o.Namespace, Name: name})
		err := receiver.CheckSecret(ctx, r.Client, o)
		if bad, ok := errors.AsType[*receiver.SecretProblem](err); ok {
			return &v1alpha1.Cause{Reason: v1alpha1.ReasonSecretNotFound, Message: bad.Error()}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if cause, err := r.checkServer(ctx, o); cause != nil || err != nil {
		return cause, err
	}
	if err := template.Check(ctx, &o.Spec); err != nil {
		//nolint:nilerr // the Cause says it
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonTemplateInvalid, Message: err.Error()}, nil
	}
	if _, err := expression.Compile(&o.Spec); err != nil {
		//nolint:nilerr // the Cause says it
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonExpressionInvalid, Message: err.Error()}, nil
	}
	return nil, nil
}

// checkServer returns why the receiver's namespace may not use its server or its sender, or nil.
func (r *Reconciler) checkServer(ctx context.Context, o *v1alpha1.TeamTalkReceiver) (*v1alpha1.Cause, error) {
	key := o.ServerKey()
	server, err := tenancy.FindServer(ctx, r.Client, key, o.Namespace)
	if missing, ok := errors.AsType[*tenancy.NotFoundError](err); ok {
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonServerNotFound, Message: missing.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	sender := senderOf(o, server)
	if cause := server.Spec.Senders.Check(sender); cause != nil {
		return cause, nil
	}
	allow, policy := o.Spec.Allow, o.Spec.ReadPolicy
	if slices.Contains(o.Spec.To.Users, sender) || allow != nil && slices.Contains(allow.Users, sender) ||
		policy != nil && policy.EscalateTo != nil && slices.Contains(policy.EscalateTo.Users, sender) {
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonSendToSelf, Message: fmt.Sprintf(
			"user %d is the sender: TeamTalk stores no message to oneself; "+
				"remove it from to.users, allow.users and escalateTo.users, or set another senderID", sender)}, nil
	}
	return nil, nil
}

// deleteExpired deletes messages that are done since longer than the receiver's TTL: none that may still be escalated.
// They have no TTL of their own, which would make their names keys: every conversation would be searched for them.
func (r *Reconciler) deleteExpired(ctx context.Context, o *v1alpha1.TeamTalkReceiver) (reconcile.Result, error) {
	next := reconcile.Result{RequeueAfter: min(max(o.TTL()/2, minExpiryInterval), maxExpiryInterval)}
	if !o.DeletionTimestamp.IsZero() {
		return next, nil
	}
	finished := apiwatch.Collection{
		Client: r.Live,
		NewList: func() client.ObjectList {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
			return list
		},
		Options: []client.ListOption{
			client.InNamespace(o.Namespace), client.MatchingLabels{v1alpha1.ReceiverLabel: o.Name},
			client.MatchingFields{v1alpha1.FieldFinished: "true"},
		},
	}
	var old []client.ObjectKey
	_, err := finished.Read(ctx, func(m client.Object) {
		// A message finishes later than it is created: most need not be read whole.
		if time.Since(m.GetCreationTimestamp().Time) >= o.TTL() && metav1.IsControlledBy(m, o) {
			old = append(old, client.ObjectKeyFromObject(m))
		}
	})
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("read the receiver's messages: %w", err)
	}
	for _, key := range old {
		if err := r.deleteIfExpired(ctx, o, key); err != nil {
			return reconcile.Result{}, err
		}
	}
	return next, nil
}

func (r *Reconciler) deleteIfExpired(ctx context.Context, o *v1alpha1.TeamTalkReceiver, key client.ObjectKey) error {
	m := &v1alpha1.TeamTalkMessage{}
	if err := r.Live.Get(ctx, key, m); err != nil {
		return client.IgnoreNotFound(err)
	}
	if done := m.DoneAt(); !m.Finished() || done.IsZero() || time.Since(done) < o.TTL() {
		return nil
	}
	err := r.Client.Delete(ctx, m, client.Preconditions{UID: &m.UID, ResourceVersion: &m.ResourceVersion})
	if err := client.IgnoreNotFound(err); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete message %s of the receiver: %w", m.Name, err)
	}
	return nil
}

func (r *Reconciler) receiversOfServer(ctx context.Context, server client.Object) []reconcile.Request {
	key := client.ObjectKeyFromObject(server)
	return r.requests(ctx, func(o *v1alpha1.TeamTalkReceiver) bool { return o.ServerKey() == key })
}

func (r *Reconciler) receiversOfNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	return r.requests(ctx, func(o *v1alpha1.TeamTalkReceiver) bool { return o.Namespace == namespace.GetName() })
}

// requests lists the receivers that match. There are few.
func (r *Reconciler) requests(ctx context.Context, match func(*v1alpha1.TeamTalkReceiver) bool) []reconcile.Request {
	list := &v1alpha1.TeamTalkReceiverList{}
	if err := r.Client.List(ctx, list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list receivers to wake")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if o := &list.Items[i]; match(o) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
		}
	}
	return requests
}
