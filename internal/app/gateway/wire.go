// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/crd"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/direct"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/legacy"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// Wire adds the gateway's routes to the server, and their runnables to the manager. limits apply in ModeDirect. drain
// stops sending. Call it after the last request.
func Wire(
	mgr manager.Manager, s *httpserver.Server, o Options, mode Mode, limits *dbproxy.Limits,
) (drain func(context.Context) error, err error) {
	// A cache may not show messages that were just created.
	live, err := process.LiveClient(mgr)
	if err != nil {
		return nil, err
	}
	guard, err := newGuard(mgr, live, s, o)
	if err != nil {
		return nil, err
	}
	handlers := &legacy.Handlers{Guard: guard, Wait: o.Wait}
	if mode == ModeDirect {
		sender, err := wireDirect(mgr, live, limits, o.Endpoints)
		if err != nil {
			return nil, err
		}
		handlers.Sender, handlers.Groups, drain = sender, sender, sender.Drain
	} else {
		sender := crd.New(live, o.TTL, mgr.GetLogger().WithName("gateway"))
		if err := mgr.Add(sender); err != nil {
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
			return errors.New("not synced yet")
		}
		return nil
	})
	return drain, mgr.AddReadyzCheck("gateway", func(r *http.Request) error { return s.Ready(r.Context()) })
}

// wireDirect adds the runnables of direct mode to the manager.
func wireDirect(
	mgr manager.Manager, live client.WithWatch, limits *dbproxy.Limits, endpoints *tenancy.Endpoints,
) (*direct.Sender, error) {
	awake := &apiwatch.Trigger{}
	ignore := func(types.NamespacedName) {} // requests wait for the session
	open := func() error { return nil }     // there is no Lease
	var sender *direct.Sender
	servers := &direct.Servers{
		Client: mgr.GetClient(),
		Sessions: connection.NewManager(
			mgr.GetLogger().WithName("connection"), limits, open, connection.Events{
				Connection: ignore, Usable: ignore,
				Addresses: func(server types.NamespacedName, addresses []string) { sender.SetAddresses(server, addresses) },
			}),
		Secrets: apiwatch.NewObjects(live, "Secret", mgr.GetLogger().WithName("apiwatch"), awake.Wake),
		Wake:    awake, Endpoints: endpoints,
	}
	sender = direct.New(servers)
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

// newGuard returns the guard for the options, and adds its runnables to the manager.
func newGuard(
	mgr manager.Manager, live client.WithWatch, s *httpserver.Server, o Options,
) (guard *access.Guard, err error) {
	guard = &access.Guard{Namespace: o.Namespace}
	if o.Auth == authNone {
		return guard, nil
	}
	if guard.Reviewer, err = access.NewReviewer(mgr.GetConfig(), mgr.GetHTTPClient(), o.Audiences); err != nil {
		return nil, err
	}
	if o.AppKeys == "" {
		return guard, nil
	}
	secret := types.NamespacedName{Namespace: o.Namespace, Name: o.AppKeys}
	guard.Keys = access.NewAppKeys(live, secret, mgr.GetLogger().WithName("gateway"))
	s.Check("app keys", guard.Keys.Ready)
	return guard, mgr.Add(guard.Keys)
}

// serveReceivers adds the route of TeamTalkReceivers, to which other systems post.
func serveReceivers(mgr manager.Manager, live client.WithWatch, s *httpserver.Server, guard *access.Guard) error {
	handler := receiver.NewHandler(receiver.Options{
		Client: live, Authorize: authorizeBy(guard), Identify: httpserver.Identify, ReadBody: httpserver.ReadBody,
		Log: mgr.GetLogger().WithName("receiver"),
	})
	for _, pattern := range []string{receiver.Pattern, receiver.TokenPattern} {
		s.Handle(httpserver.Route{
			Pattern: pattern, Name: "Receiver", Handler: handler, WriteError: receiver.Refuse,
			// Alertmanager retries after 5xx only.
			CallerLimitStatus: http.StatusServiceUnavailable,
		})
	}
	return mgr.Add(handler)
}

// authorizeBy returns the check of callers whose receiver names no Secret. They need a token, not an app_key.
func authorizeBy(guard *access.Guard) receiver.Authorize {
	return func(r *http.Request, namespace string) error {
		_, denial := guard.Admit(r, access.SendMessages, "", namespace)
		switch {
		case denial == nil:
			return nil
		case denial.Kind == access.Unavailable:
			return errors.New(denial.Detail)
		case denial.Kind == access.Forbidden:
			return receiver.ErrForbidden
		}
		return receiver.ErrUnauthenticated
	}
}
