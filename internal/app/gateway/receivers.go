// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"net/http"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
)

// serveReceivers adds the route of TeamTalkReceivers, to which other systems post.
func serveReceivers(mgr manager.Manager, live client.WithWatch, s *httpserver.Server, guard *access.Guard) error {
	handler := receiver.NewHandler(receiver.Options{
		Client: live, Authorize: authorizeBy(guard), Identify: httpserver.Identify, Log: mgr.GetLogger().WithName("receiver"),
	})
	s.Handle(httpserver.Route{
		Pattern: receiver.Pattern, Name: "Receiver", Handler: handler, WriteError: receiver.Refuse,
		// Alertmanager retries after 5xx only.
		CallerLimitStatus: http.StatusServiceUnavailable,
	})
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
