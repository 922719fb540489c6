// Package teamtalkserver keeps a session for each TeamTalkServer and says on the
// resource how it stands.
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
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/objectwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/wake"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkservers,verbs=get;list;watch
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkservers/status,verbs=get;patch;update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch,roleName=teamtalk-operator-secrets
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

// cacheLag is how long a cache is given to catch up with a conflict.
const cacheLag = 200 * time.Millisecond

// Reconciler reconciles TeamTalkServers.
type Reconciler struct {
	// Client reads Secrets live: they are not cached.
	Client   client.Client
	Sessions *connection.Manager
	// Secrets wakes a server when the Secret of its key changes.
	Secrets *objectwatch.Watcher
	// Wake enqueues a server whose connections or Secret have changed.
	Wake     *wake.Source
	Recorder events.EventRecorder
}

// SetupWithManager adds the controller to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.TeamTalkServer{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(r.Wake).
		Complete(r)
}

// Reconcile brings one server's session in line with its spec and Secret.
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
	keys, keyProblem, err := r.loadKeys(ctx, server.Namespace, ref)
	if err != nil {
		return reconcile.Result{}, err
	}
	session := r.Sessions.Ensure(req.NamespacedName, configOf(server), keys)

	before := server.DeepCopy()
	setStatus(server, keyProblem, session.Health())
	if equality.Semantic.DeepEqual(before.Status, server.Status) {
		return reconcile.Result{}, nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, server, patch); err != nil {
		if apierrors.IsConflict(err) {
			// The cache is behind by a change of status, which wakes nobody here.
			return reconcile.Result{RequeueAfter: cacheLag}, nil
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	r.report(before, server)
	return reconcile.Result{}, nil
}

// loadKeys reads the keys from the Secret. A problem is what the user has to
// mend; an error is to be tried again.
func (r *Reconciler) loadKeys(ctx context.Context, namespace string, ref v1alpha1.SecretKeyRef) (cipher.Keys, *problem, error) {
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return cipher.Keys{}, &problem{v1alpha1.ReasonKeyNotFound, fmt.Sprintf(
			"Secret %q does not exist in namespace %q: create it with the key %q", ref.Name, namespace, ref.Key)}, nil
	case apierrors.IsForbidden(err):
		return cipher.Keys{}, &problem{v1alpha1.ReasonKeyNotFound, fmt.Sprintf(
			"the operator may not read Secret %q in namespace %q: grant it get, list and watch of it, see \"Access to namespaces\" in docs/install.md",
			ref.Name, namespace)}, nil
	case err != nil:
		return cipher.Keys{}, nil, fmt.Errorf("read Secret %s/%s: %w", namespace, ref.Name, err)
	}
	var keys cipher.Keys
	current, ok := secret.Data[ref.Key]
	if !ok {
		return cipher.Keys{}, &problem{v1alpha1.ReasonKeyNotFound, fmt.Sprintf(
			"Secret %q has no key %q: add it, or correct aesKeySecretRef.key", ref.Name, ref.Key)}, nil
	}
	if keys.Current, err = cipher.New(current); err != nil {
		return cipher.Keys{}, keyInvalid(ref.Name, ref.Key, len(current)), nil //nolint:nilerr // said in the problem
	}
	if previous, ok := secret.Data[ref.Key+v1alpha1.PreviousKeySuffix]; ok {
		if keys.Previous, err = cipher.New(previous); err != nil {
			return cipher.Keys{}, keyInvalid(ref.Name, ref.Key+v1alpha1.PreviousKeySuffix, len(previous)), nil //nolint:nilerr // as above
		}
	}
	return keys, nil, nil
}

func keyInvalid(secret, key string, length int) *problem {
	return &problem{v1alpha1.ReasonKeyInvalid, fmt.Sprintf(
		"key %q of Secret %q has %d bytes, TeamTalk's AES key has %d: check for a newline or for base64 applied twice",
		key, secret, length, cipher.KeyLen)}
}

func configOf(server *v1alpha1.TeamTalkServer) connection.Config {
	c := connection.Config{
		Connections:      int(server.Spec.DBProxy.Connections),
		MaxInFlight:      int(server.Spec.DBProxy.MaxInFlight),
		MaxGroupInFlight: int(server.Spec.DBProxy.MaxGroupInFlight),
		Rate:             int(server.Spec.RateLimit.MessagesPerSecond),
		Burst:            int(server.Spec.RateLimit.Burst),
	}
	for _, e := range server.Spec.DBProxy.Endpoints {
		c.DBProxy = append(c.DBProxy, string(e))
	}
	for _, e := range server.Spec.Router.Endpoints {
		c.Router = append(c.Router, string(e))
	}
	return c
}
