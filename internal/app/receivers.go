package app

import (
	"errors"
	"net/http"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
)

// serveReceivers has the gateway take what other systems post to TeamTalkReceivers.
func serveReceivers(mgr manager.Manager, live client.WithWatch, s *httpserver.Server, guard *access.Guard) error {
	handler := receiver.NewHandler(receiver.Options{
		Client: live, Authorize: authorizeBy(guard), Identify: httpserver.Identify, Log: mgr.GetLogger().WithName("receiver"),
	})
	s.Handle(httpserver.Route{
		Pattern: receiver.Pattern, Name: "Receiver", Handler: handler, WriteError: receiver.Refuse,
		// Alertmanager gives up at 429, as at all but 5xx.
		CallerLimitStatus: http.StatusServiceUnavailable,
	})
	return mgr.Add(handler)
}

// authorizeBy asks the gateway's guard about callers of receivers that name no
// Secret: by a token, as everywhere; a receiver's callers have no app_key.
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
