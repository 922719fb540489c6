// SPDX-License-Identifier: Apache-2.0

package direct

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// The role has no Secrets. For a server's key, bind teamtalk-operator-secrets in its namespace, or a Role that
// names the Secret.
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkservers,verbs=get;list;watch,roleName=teamtalk-gateway-direct

// sessionTimeout is how long the first request of a server waits for its session.
const sessionTimeout = 2 * time.Second

// Servers keeps a session for each TeamTalkServer that a request has used. It is a reconciler: servers and
// their keys may change.
type Servers struct {
	// Client reads TeamTalkServers from a cache, and Secrets from the API server.
	Client   client.Client
	Sessions *connection.Manager
	// Secrets enqueues a server when the Secret of its key changes.
	Secrets *apiwatch.Objects
	// Endpoints are the endpoints that servers may use. If nil, all are allowed.
	Endpoints *tenancy.Endpoints
	// Wake enqueues a server on its first request, and on changes of its Secret.
	Wake *apiwatch.Trigger

	// used holds a *usedServer for each types.NamespacedName.
	used sync.Map
}

// usedServer is a TeamTalkServer that a request has used.
type usedServer struct {
	// reconciled is closed after the first reconcile.
	reconciled chan struct{}
	once       sync.Once
	// problem is why there is no usable key, or why its endpoints are not permitted.
	problem atomic.Pointer[v1alpha1.Cause]
}

// wait waits for the first reconcile.
func (u *usedServer) wait(ctx context.Context) error {
	select {
	case <-u.reconciled:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeoutCause(ctx, sessionTimeout, errors.New("its Secret could not be read yet"))
	defer cancel()
	select {
	case <-u.reconciled:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// SetupWithManager adds the reconciler to the manager.
func (s *Servers) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("gateway-servers").
		For(&v1alpha1.TeamTalkServer{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(s.Wake).
		Complete(s)
}

// Reconcile updates the session of a server in use to its spec and Secret.
func (s *Servers) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	entry, ok := s.used.Load(req.NamespacedName)
	if !ok {
		return reconcile.Result{}, nil
	}
	problem, err := s.reconcile(ctx, req.NamespacedName)
	if err != nil {
		return reconcile.Result{}, err
	}
	used := entry.(*usedServer)
	used.problem.Store(problem)
	used.once.Do(func() { close(used.reconciled) })
	return reconcile.Result{}, nil
}

// reconcile returns why the server's key is not usable, or why its endpoints are not permitted.
func (s *Servers) reconcile(ctx context.Context, key types.NamespacedName) (*v1alpha1.Cause, error) {
	server := &v1alpha1.TeamTalkServer{}
	if err := s.Client.Get(ctx, key, server); apierrors.IsNotFound(err) {
		s.used.Delete(key)
		s.Sessions.Remove(key)
		s.Secrets.Release(key)
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if cause := s.Endpoints.Check(server); cause != nil {
		s.Sessions.Remove(key)
		s.Secrets.Release(key)
		return cause, nil
	}
	ref := server.Spec.AESKeySecretRef
	name := types.NamespacedName{Namespace: key.Namespace, Name: ref.Name}
	s.Secrets.Watch(key, name) // before the read, so that no change is missed
	secret := &corev1.Secret{}
	err := s.Client.Get(ctx, name, secret)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	keys, problem := connection.KeysOf(secret.Data, ref)
	if err != nil {
		problem = &v1alpha1.Cause{Reason: v1alpha1.ReasonKeyNotFound, Message: fmt.Sprintf(
			"Secret %q does not exist in namespace %q, or the gateway may not read it", ref.Name, key.Namespace)}
	}
	config := connection.ConfigOf(server)
	config.Policy = s.Endpoints
	s.Sessions.Ensure(key, config, keys)
	return problem, nil
}

// session returns a server of the namespace, which must not be changed, and its session. If name is empty, it is the
// default server.
func (s *Servers) session(
	ctx context.Context, namespace, name string,
) (*v1alpha1.TeamTalkServer, *connection.Session, error) {
	key := types.NamespacedName{Namespace: namespace, Name: cmp.Or(name, v1alpha1.DefaultServerName)}
	notFound := func() error {
		return api.Refuse(v1alpha1.ReasonServerNotFound, "no TeamTalkServer %q in namespace %q", key.Name, namespace)
	}
	server := &v1alpha1.TeamTalkServer{}
	// Requests only read it, so they share the cache's.
	if err := s.Client.Get(ctx, key, server, client.UnsafeDisableDeepCopy); apierrors.IsNotFound(err) {
		return nil, nil, notFound()
	} else if err != nil {
		return nil, nil, fmt.Errorf("read TeamTalkServer %s: %w", key, err)
	}
	entry, known := s.used.LoadOrStore(key, &usedServer{reconciled: make(chan struct{})})
	if !known {
		s.Wake.Wake(key)
	}
	used := entry.(*usedServer)
	if err := used.wait(ctx); err != nil {
		return nil, nil, fmt.Errorf("connect to TeamTalkServer %s: %w", key, err)
	}
	session, ok := s.Sessions.Get(key)
	switch {
	case used.problem.Load() != nil:
		return nil, nil, (*api.Refusal)(used.problem.Load())
	case !ok:
		return nil, nil, notFound()
	}
	for _, endpoint := range session.Refusals().NotPermitted {
		isDBProxy := slices.Contains(server.Spec.DBProxy.Endpoints, v1alpha1.Endpoint(endpoint))
		if isDBProxy && session.Health().DBProxyConnected == 0 {
			return nil, nil, (*api.Refusal)(tenancy.NotPermitted(namespace, endpoint))
		}
	}
	return server, session, nil
}
