// SPDX-License-Identifier: Apache-2.0

package teamtalkserver

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkservers,verbs=get;list;watch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkservers/status,verbs=get;patch;update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch,roleName=teamtalk-operator-secrets
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

// cacheLag is how long the cache takes at most to show the change behind a conflict.
const cacheLag = 200 * time.Millisecond

// Reconciler reconciles TeamTalkServers.
type Reconciler struct {
	// Client reads Secrets from the API server: they are not cached.
	Client   client.Client
	Sessions *connection.Manager
	// Secrets wakes a server when the Secret of its key changes.
	Secrets *apiwatch.Objects
	// Wake enqueues a server whose connections or Secret have changed.
	Wake     *apiwatch.Trigger
	Recorder events.EventRecorder
}

// SetupWithManager adds the controller to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.TeamTalkServer{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(r.Wake).
		Complete(r)
}

// Reconcile sets up one server's session by its spec and Secret, and writes its status.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	server := &v1alpha1.TeamTalkServer{}
	if err := r.Client.Get(ctx, req.NamespacedName, server); err != nil {
		if apierrors.IsNotFound(err) {
			r.Sessions.Remove(req.NamespacedName)
			r.Secrets.Release(req.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	// The watch begins before the read, so that no change falls in between.
	ref := server.Spec.AESKeySecretRef
	r.Secrets.Watch(req.NamespacedName, types.NamespacedName{Namespace: server.Namespace, Name: ref.Name})
	keys, cause, err := r.loadKeys(ctx, server.Namespace, ref)
	if err != nil {
		return reconcile.Result{}, err
	}
	session := r.Sessions.Ensure(req.NamespacedName, connection.ConfigOf(server), keys)

	before := server.DeepCopy()
	setStatus(server, cause, session.Health())
	if equality.Semantic.DeepEqual(before.Status, server.Status) {
		return reconcile.Result{}, nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, server, patch); err != nil {
		if apierrors.IsConflict(err) {
			// The cache is stale by a change of status, which does not wake the server.
			return reconcile.Result{RequeueAfter: cacheLag}, nil
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if kind, ready := v1alpha1.ReadyEvent(before.Status.Conditions, server.Status.Conditions); kind != "" {
		r.Recorder.Eventf(server, nil, kind, ready.Reason, "Connect", "%s", ready.Message)
	}
	return reconcile.Result{}, nil
}

// loadKeys reads the keys from the Secret. A Cause is for the user to fix; an error is retried.
func (r *Reconciler) loadKeys(ctx context.Context, namespace string, ref v1alpha1.SecretKeyRef) (
	keys cipher.Keys, cause *v1alpha1.Cause, err error,
) {
	secret := &corev1.Secret{}
	err = r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return keys, &v1alpha1.Cause{Reason: v1alpha1.ReasonKeyNotFound, Message: fmt.Sprintf(
			"Secret %q does not exist in namespace %q: create it with the key %q", ref.Name, namespace, ref.Key)}, nil
	case apierrors.IsForbidden(err):
		return keys, &v1alpha1.Cause{Reason: v1alpha1.ReasonKeyNotFound, Message: fmt.Sprintf(
			"the operator may not read Secret %q in namespace %q: grant it get, list and watch of it, "+
				"see \"Access to namespaces\" in docs/install.md", ref.Name, namespace)}, nil
	case err != nil:
		return keys, nil, fmt.Errorf("read Secret %s/%s: %w", namespace, ref.Name, err)
	}
	keys, cause = connection.KeysOf(secret.Data, ref)
	return keys, cause, nil
}
