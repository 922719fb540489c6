// Package direct sends straight through db_proxy and router, with the operator's own
// engine. It keeps no record: what it promises holds within its process, and across
// processes for what bears a key.
package direct

import (
	"context"
	"fmt"
	"sync"
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
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/objectwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/wake"
)

// Keys of servers are not in this role: teamtalk-operator-secrets is bound for them,
// namespace by namespace, or a Role that names one.
// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkservers,verbs=get;list;watch,roleName=teamtalk-gateway-direct

// sessionPatience is how long the first request of a server waits for its session.
const sessionPatience = 2 * time.Second

// Servers keep a session for each TeamTalkServer that requests have asked for. It is
// a reconciler: servers and their keys may change.
type Servers struct {
	// Client reads TeamTalkServers from a cache, and Secrets live.
	Client   client.Client
	Sessions *connection.Manager
	// Secrets wakes a server when the Secret of its key changes.
	Secrets *objectwatch.Watcher
	// Wake enqueues a server that is asked for, or whose Secret has changed.
	Wake *wake.Source

	mu     sync.Mutex
	wanted map[types.NamespacedName]*wanted
}

// wanted is a server that was asked for.
type wanted struct {
	// looked is closed once the server was looked at.
	looked chan struct{}
	once   sync.Once
	// problem is why there is no usable key; guarded by Servers.mu.
	problem *v1alpha1.Cause
}

// SetupWithManager adds the reconciler to the manager.
func (s *Servers) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("gateway-servers").
		For(&v1alpha1.TeamTalkServer{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(s.Wake).
		Complete(s)
}

// Reconcile brings a wanted server's session in line with its spec and Secret.
func (s *Servers) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	key := req.NamespacedName
	s.mu.Lock()
	w := s.wanted[key]
	s.mu.Unlock()
	if w == nil {
		return reconcile.Result{}, nil
	}
	server := &v1alpha1.TeamTalkServer{}
	if err := s.Client.Get(ctx, key, server); apierrors.IsNotFound(err) {
		s.mu.Lock()
		delete(s.wanted, key)
		s.mu.Unlock()
		s.Sessions.Remove(key)
		s.Secrets.Release(key)
		w.once.Do(func() { close(w.looked) })
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, err
	}
	// The watch begins before the read, so that no change falls in between.
	ref := server.Spec.AESKeySecretRef
	name := types.NamespacedName{Namespace: key.Namespace, Name: ref.Name}
	s.Secrets.Watch(key, name)
	secret := &corev1.Secret{}
	err := s.Client.Get(ctx, name, secret)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return reconcile.Result{}, fmt.Errorf("read Secret %s: %w", name, err)
	}
	keys, problem := connection.KeysOf(secret.Data, ref)
	if err != nil {
		problem = &v1alpha1.Cause{Reason: v1alpha1.ReasonKeyNotFound, Message: fmt.Sprintf(
			"Secret %q does not exist in namespace %q, or the gateway may not read it", ref.Name, key.Namespace)}
	}
	s.Sessions.Ensure(key, connection.ConfigOf(server), keys)
	s.mu.Lock()
	w.problem = problem
	s.mu.Unlock()
	w.once.Do(func() { close(w.looked) })
	return reconcile.Result{}, nil
}

// session returns a namespace's server, by its name or the default one, and its
// session. A Refusal says what is wrong with it.
func (s *Servers) session(ctx context.Context, namespace, name string) (*v1alpha1.TeamTalkServer, *connection.Session, error) {
	if name == "" {
		name = v1alpha1.DefaultServerName
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	missing := &api.Refusal{Reason: v1alpha1.ReasonServerNotFound, Detail: fmt.Sprintf(
		"no TeamTalkServer %q in namespace %q", name, namespace)}
	server := &v1alpha1.TeamTalkServer{}
	if err := s.Client.Get(ctx, key, server); apierrors.IsNotFound(err) {
		return nil, nil, missing
	} else if err != nil {
		return nil, nil, fmt.Errorf("read TeamTalkServer %s: %w", key, err)
	}
	s.mu.Lock()
	w := s.wanted[key]
	if w == nil {
		if s.wanted == nil {
			s.wanted = map[types.NamespacedName]*wanted{}
		}
		w = &wanted{looked: make(chan struct{})}
		s.wanted[key] = w
		s.Wake.Wake(key)
	}
	s.mu.Unlock()
	timer := time.NewTimer(sessionPatience)
	defer timer.Stop()
	select {
	case <-w.looked:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-timer.C:
		return nil, nil, fmt.Errorf("connect to TeamTalkServer %s: its Secret could not be read yet", key)
	}
	s.mu.Lock()
	problem := w.problem
	s.mu.Unlock()
	session, ok := s.Sessions.Get(key)
	switch {
	case problem != nil:
		return nil, nil, &api.Refusal{Reason: problem.Reason, Detail: problem.Message}
	case !ok:
		return nil, nil, missing
	}
	return server, session, nil
}
