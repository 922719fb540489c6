// SPDX-License-Identifier: Apache-2.0

package process

import (
	"net"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"k8s.io/client-go/rest"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
)

// Limits of the requests with a token from one client address. Any client can send made-up tokens, and each new token
// costs a request to the API server.
const (
	addressRate  = 10 // requests per second
	addressBurst = 20
	// maxAddresses bounds the addresses whose requests are counted. The least recently used is dropped.
	maxAddresses = 1024
)

// newMetricsFilter returns the filter of /metrics: a reader needs a token whose user may get the URL.
// controller-runtime's answers an invalid token like a failure of the API server, with status 500, and logs an error.
func newMetricsFilter(cfg *rest.Config, client *http.Client) (server.Filter, error) {
	reviewer, err := access.NewReviewer(cfg, client, nil)
	if err != nil {
		return nil, err
	}
	f := &metricsFilter{reviewer: reviewer, addresses: lru.New(maxAddresses)}
	return f.wrap, nil
}

type metricsFilter struct {
	reviewer *access.Reviewer

	mu        sync.Mutex
	addresses *lru.Cache // of *rate.Limiter by client address
}

// wrap is a server.Filter.
func (f *metricsFilter) wrap(_ logr.Logger, next http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, detail := f.review(r)
		switch status {
		case http.StatusOK:
			next.ServeHTTP(w, r)
			return
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", "Bearer")
		case http.StatusTooManyRequests:
			w.Header().Set("Retry-After", "1")
		}
		http.Error(w, detail, status)
	}), nil
}

// review returns 200, or the status and text of the answer.
func (f *metricsFilter) review(r *http.Request) (status int, detail string) {
	token := access.BearerToken(r.Header.Get("Authorization"))
	if token == "" {
		return http.StatusUnauthorized, "send a Kubernetes token: Authorization: Bearer TOKEN"
	}
	if !f.allow(r.RemoteAddr) {
		return http.StatusTooManyRequests, "too many requests from your address: retry later"
	}
	user, denial := f.reviewer.Token(r.Context(), token)
	if denial == nil {
		denial = f.reviewer.MayGet(r.Context(), user, r.URL.Path)
	}
	switch {
	case denial == nil:
		return http.StatusOK, ""
	case denial.Kind == access.Unavailable:
		return http.StatusServiceUnavailable, denial.Detail
	case denial.Kind == access.Forbidden:
		return http.StatusForbidden, denial.Detail
	}
	return http.StatusUnauthorized, denial.Detail
}

// allow reports whether the client is within the rate of its address.
func (f *metricsFilter) allow(remote string) bool {
	address, _, err := net.SplitHostPort(remote)
	if err != nil {
		address = remote
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	limiter, ok := f.addresses.Get(address)
	if !ok {
		limiter = rate.NewLimiter(addressRate, addressBurst)
		f.addresses.Add(address, limiter)
	}
	return limiter.(*rate.Limiter).Allow()
}
