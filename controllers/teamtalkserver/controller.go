// SPDX-License-Identifier: Apache-2.0

package teamtalkserver

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkservers,verbs=get;list;watch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkservers/status,verbs=get;patch;update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch,roleName=teamtalk-operator-secrets
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

// maxConcurrentReconciles is for the start of a term, in which every server is claimed by two requests.
const maxConcurrentReconciles = 4

// cacheLag is the longest time until the cache shows the change that caused a conflict.
const cacheLag = 200 * time.Millisecond

// Reconciler reconciles TeamTalkServers.
type Reconciler struct {
	// Client reads Secrets from the API server: they are not cached.
	Client   client.Client
	Sessions *connection.Manager
	// Secrets wakes a server when the Secret of its key changes.
	Secrets *apiwatch.Objects
	// Claims are the servers that this process may send through.
	Claims *leadership.Claims
	// Endpoints are the endpoints that servers may use. If nil, all are allowed.
	Endpoints *tenancy.Endpoints
	// Wake enqueues a server whose connections or Secret have changed.
	Wake *apiwatch.Trigger
	// MessageWake enqueues the messages of a server.
	MessageWake *apiwatch.Trigger
	Recorder    events.EventRecorder

	// loaded are the keys that were loaded last, as loadedKeys by name of the server.
	loaded sync.Map
}

// SetupWithManager adds the controller to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.TeamTalkServer{}, builder.WithPredicates(
			predicate.Or(predicate.GenerationChangedPredicate{}, managerChanged))).
		WatchesRawSource(r.Wake).
		WithOptions(controller.Options{MaxConcurrentReconciles: maxConcurrentReconciles}).
		Complete(r)
}

// managerChanged selects updates of status.managedBy.
var managerChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok1 := e.ObjectOld.(*v1alpha1.TeamTalkServer)
	after, ok2 := e.ObjectNew.(*v1alpha1.TeamTalkServer)
	return ok1 && ok2 && !ptr.Equal(before.Status.ManagedBy, after.Status.ManagedBy)
}}

// Reconcile sets up one server's session by its spec and Secret, and writes its status.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	server := &v1alpha1.TeamTalkServer{}
	if err := r.Client.Get(ctx, req.NamespacedName, server); err != nil {
		if apierrors.IsNotFound(err) {
			r.release(req.NamespacedName)
			r.Claims.Drop(req.NamespacedName)
			r.loaded.Delete(req.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if refusal, err := r.claim(ctx, server); refusal != nil || err != nil {
		return resultOf(refusal, err)
	}
	if cause := r.Endpoints.Check(server); cause != nil {
		r.release(req.NamespacedName)
		before := server.DeepCopy()
		setNotPermitted(server, *cause)
		return resultOf(nil, r.writeStatus(ctx, before, server))
	}
	// The watch begins before the read, so that no change is missed.
	ref := server.Spec.AESKeySecretRef
	r.Secrets.Watch(req.NamespacedName, types.NamespacedName{Namespace: server.Namespace, Name: ref.Name})
	loaded, cause, err := r.loadKeys(ctx, server.Namespace, ref)
	if err != nil {
		return reconcile.Result{}, err
	}
	var keys cipher.Keys
	if cause == nil {
		if keys, err = r.recordKeys(ctx, server, loaded); err != nil {
			return resultOf(nil, err)
		}
	}
	config := connection.ConfigOf(server)
	config.Policy = r.Endpoints
	session := r.Sessions.Ensure(req.NamespacedName, config, keys)

	before := server.DeepCopy()
	setStatus(server, cause, session.Health(), session.Refusals())
	return resultOf(nil, r.writeStatus(ctx, before, server))
}

// claim claims the server. If another operator sends through it, this one closes its connections.
func (r *Reconciler) claim(ctx context.Context, server *v1alpha1.TeamTalkServer) (*leadership.Refusal, error) {
	key := client.ObjectKeyFromObject(server)
	if !r.Claims.Shows(server) {
		r.release(key) // the session of a claim that was lost; the next one wakes the messages
	}
	before := r.Claims.Refused(key)
	refusal, err := r.Claims.Claim(ctx, server)
	if refusal == nil || refusal.Reason == "" {
		return refusal, err
	}
	if before == nil || *before != refusal.Cause {
		ctrl.LoggerFrom(ctx).Info("nothing is sent through a server", "reason", refusal.Message)
		r.Recorder.Eventf(server, nil, corev1.EventTypeWarning, refusal.Reason, "Claim", "%s", refusal.Message)
		r.MessageWake.Wake(key)
	}
	if server.Status.ObservedGeneration == server.Generation {
		return refusal, nil // it is the other operator that shows whether messages can be delivered
	}
	shown := server.DeepCopy()
	setRefused(server, refusal.Cause)
	return refusal, r.writeStatus(ctx, shown, server)
}

// release closes the connections of a server.
func (r *Reconciler) release(server types.NamespacedName) {
	r.Sessions.Remove(server)
	r.Secrets.Release(server)
}

// resultOf retries a server that was refused or has changed.
func resultOf(refusal *leadership.Refusal, err error) (reconcile.Result, error) {
	switch {
	case apierrors.IsConflict(err):
		// The cache lacks a change of the status, which does not wake the server.
		return reconcile.Result{RequeueAfter: cacheLag}, nil
	case err != nil:
		return reconcile.Result{}, client.IgnoreNotFound(err)
	case refusal != nil:
		return reconcile.Result{RequeueAfter: refusal.RetryAfter}, nil
	}
	return reconcile.Result{}, nil
}

// writeStatus writes a status that has changed, against the version that it was computed from.
func (r *Reconciler) writeStatus(ctx context.Context, before, server *v1alpha1.TeamTalkServer) error {
	if equality.Semantic.DeepEqual(before.Status, server.Status) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, server, patch); err != nil {
		return err
	}
	if kind, ready := v1alpha1.ReadyEvent(before.Status.Conditions, server.Status.Conditions); kind != "" {
		r.Recorder.Eventf(server, nil, kind, ready.Reason, "Connect", "%s", ready.Message)
	}
	return nil
}

// loadKeys reads the keys from the Secret. A Cause is for the user to fix; an error is retried.
func (r *Reconciler) loadKeys(ctx context.Context, namespace string, ref v1alpha1.SecretKeyRef) (
	loaded loadedKeys, cause *v1alpha1.Cause, err error,
) {
	secret := &corev1.Secret{}
	err = r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return loaded, &v1alpha1.Cause{Reason: v1alpha1.ReasonKeyNotFound, Message: fmt.Sprintf(
			"Secret %q does not exist in namespace %q: create it with the key %q", ref.Name, namespace, ref.Key)}, nil
	case apierrors.IsForbidden(err):
		return loaded, &v1alpha1.Cause{Reason: v1alpha1.ReasonKeyNotFound, Message: fmt.Sprintf(
			"the operator may not read Secret %q in namespace %q: grant it get, list and watch of it, "+
				"see \"Access to namespaces\" in docs/how-to/install.md", ref.Name, namespace)}, nil
	case err != nil:
		return loaded, nil, fmt.Errorf("read Secret %s/%s: %w", namespace, ref.Name, err)
	}
	loaded = loadedKeys{uid: secret.UID, version: secret.ResourceVersion, ref: ref}
	loaded.keys, cause = connection.KeysOf(secret.Data, ref)
	return loaded, cause, nil
}
