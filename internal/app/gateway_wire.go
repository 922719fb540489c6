package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/crd"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/direct"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/legacy"
	"github.com/teamtalk-io/teamtalk-operator/internal/objectwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/wake"
)

// wireGateway lists what the gateway serves, and connects it. It returns what ends
// sending, once no more requests come.
func wireGateway(mgr manager.Manager, s *httpserver.Server, o ServingOptions, mode string) (drain func(context.Context) error, err error) {
	guard, err := gatewayGuard(mgr, s, o)
	if err != nil {
		return nil, err
	}
	// Live: whether something was received or recorded before is decided by what the
	// API server holds, not by a cache.
	live, err := client.NewWithWatch(mgr.GetConfig(), client.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the API client: %w", err)
	}
	handlers := &legacy.Handlers{Guard: guard, Wait: o.Wait}
	if mode == modeDirect {
		sender, err := wireDirect(mgr)
		if err != nil {
			return nil, err
		}
		handlers.Sender, handlers.Groups, drain = sender, sender, sender.Drain
	} else {
		sender := crd.New(live, o.TTL, mgr.GetLogger().WithName("gateway"))
		if err := mgr.Add(everywhere{sender}); err != nil {
			return nil, fmt.Errorf("add to the manager: %w", err)
		}
		handlers.Sender, drain = sender, func(context.Context) error { return nil }
		s.Check("messages", func(ctx context.Context) error { return sender.Ready(ctx, o.Namespace) })
	}
	handlers.Mount(s)
	if err := serveReceivers(mgr, live, s, guard); err != nil {
		return nil, err
	}
	s.Check("caches", func(ctx context.Context) error {
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("they have not synced yet")
		}
		return nil
	})
	return drain, mgr.AddReadyzCheck("gateway", func(r *http.Request) error { return s.Ready(r.Context()) })
}

// wireDirect has messages sent from here.
func wireDirect(mgr manager.Manager) (*direct.Sender, error) {
	clients, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up the API client: %w", err)
	}
	awake := &wake.Source{}
	ignore := func(types.NamespacedName) {} // requests wait on the session itself
	open := func() error { return nil }     // no Lease: one process sends for one TeamTalk
	servers := &direct.Servers{
		Client:   mgr.GetClient(),
		Sessions: connection.NewManager(mgr.GetLogger().WithName("connection"), open, connection.Events{Connection: ignore, Usable: ignore}),
		Secrets:  objectwatch.New(clients.CoreV1().RESTClient(), "secrets", &corev1.Secret{}, awake.Wake),
		Wake:     awake,
	}
	sender := direct.New(servers)
	for _, r := range []manager.Runnable{servers.Secrets, servers.Sessions, sender} {
		if err := mgr.Add(r); err != nil {
			return nil, fmt.Errorf("add to the manager: %w", err)
		}
	}
	if err := servers.SetupWithManager(mgr); err != nil {
		return nil, fmt.Errorf("set up the gateway: %w", err)
	}
	return sender, nil
}

// gatewayGuard decides who may send.
func gatewayGuard(mgr manager.Manager, s *httpserver.Server, o ServingOptions) (*access.Guard, error) {
	guard := &access.Guard{Namespace: o.Namespace}
	if o.Auth == authNone {
		return guard, nil
	}
	var err error
	if guard.Reviewer, err = access.NewReviewer(mgr.GetConfig(), mgr.GetHTTPClient(), o.Audiences); err != nil {
		return nil, err
	}
	if o.AppKeys == "" {
		return guard, nil
	}
	clients, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up the API client: %w", err)
	}
	keys := access.NewAppKeys(mgr.GetAPIReader(), types.NamespacedName{Namespace: o.Namespace, Name: o.AppKeys}, mgr.GetLogger().WithName("gateway"))
	watcher := objectwatch.New(clients.CoreV1().RESTClient(), "secrets", &corev1.Secret{}, func(types.NamespacedName) { keys.Changed() })
	guard.Keys = keys
	s.Check("app keys", keys.Ready)
	follow := manager.RunnableFunc(func(ctx context.Context) error { return keys.Start(ctx, watcher) })
	return guard, errors.Join(mgr.Add(everywhere{watcher}), mgr.Add(everywhere{follow}))
}

// everywhere runs in every replica, not only in the one that leads.
type everywhere struct{ manager.Runnable }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everywhere) NeedLeaderElection() bool { return false }
