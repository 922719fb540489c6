// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

const (
	// RequestID is the header with the id of a request in the log. A caller may choose the id.
	RequestID = "X-Request-Id"
	// maxRequestID is the longest id, in bytes, that a caller may choose.
	maxRequestID = 64
	// requestIDChars are the characters of an id that a caller may choose.
	requestIDChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
)

// The label "operation" is the route's name. It is not called "endpoint", which Prometheus sets for the target.
var (
	requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_gateway_requests_total",
		Help: "Answered requests, by operation, HTTP status and the operation's own error code (empty if it has none).",
	}, []string{"operation", "status", "error_code"})
	durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "teamtalk_gateway_request_duration_seconds",
		Help:    "Time from the headers of a request to its answer, by operation.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"operation"})
	inFlight = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "teamtalk_gateway_requests_in_flight",
		Help: "Requests in flight, including those that are being rejected.",
	})
)

func init() { metrics.Registry.MustRegister(requests, durations, inFlight) }

// wrap adds the middleware of all requests to a route's handler, outermost first.
func (s *Server) wrap(route Route) http.Handler {
	if route.WriteError == nil {
		route.WriteError = func(w http.ResponseWriter, _ *http.Request, status int, detail string) {
			writeText(w, status, detail)
		}
	}
	if route.CallerLimitStatus == 0 {
		route.CallerLimitStatus = http.StatusTooManyRequests
	}
	return s.observe(route, s.recoverPanic(route, s.limit(route, http.MaxBytesHandler(route.Handler, MaxBody))))
}

// observe gives the request an id and a deadline. It logs and counts the answer.
func (s *Server) observe(route Route, next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began, id := time.Now(), requestID(r)
		inFlight.Inc()
		defer inFlight.Dec()
		w.Header().Set(RequestID, id)
		info := &requestInfo{ResponseWriter: w}
		log := s.log.WithValues("requestID", id)
		ctx := logr.NewContext(context.WithValue(r.Context(), requestInfoKey{}, info), log)
		ctx, cancel := context.WithTimeout(ctx, handleTimeout)
		defer cancel()
		next.ServeHTTP(info, r.WithContext(ctx))

		status, took := cmp.Or(info.status, http.StatusOK), time.Since(began)
		requests.WithLabelValues(route.Name, strconv.Itoa(status), info.errorCode).Inc()
		durations.WithLabelValues(route.Name).Observe(took.Seconds())
		info.logValues = append(info.logValues, "endpoint", route.Name, "status", status,
			"took", took.Round(time.Microsecond).String(), "from", r.RemoteAddr)
		if info.errorCode != "" {
			info.logValues = append(info.logValues, "errorCode", info.errorCode)
		}
		log.Info("answered", info.logValues...) // WithValues would copy the logger each time
	}
}

// recoverPanic answers a request whose handler panics.
func (s *Server) recoverPanic(route Route, next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() == nil {
				return
			}
			// The panic's value is not logged: it may hold a part of the request.
			log := logr.FromContextOrDiscard(r.Context())
			log.Info("a handler has panicked", "endpoint", route.Name, "stack", string(debug.Stack()))
			if infoOf(r.Context()).status == 0 {
				route.WriteError(w, r, http.StatusInternalServerError, "internal error, see the gateway's log for this request id")
			}
		}()
		next.ServeHTTP(w, r)
	}
}

// limit rejects requests over the server's limit and over the limit of one address. It lets Identify count the
// request for its caller, and ReadBody give the places back meanwhile.
func (s *Server) limit(route Route, next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		info := infoOf(r.Context())
		info.server, info.connection = s, connectionOf(r.Context())
		info.caller = "address " + clientAddress(r.RemoteAddr)
		defer info.release()
		if err := info.enter(r.Context()); err != nil {
			status := http.StatusServiceUnavailable
			if errors.Is(err, errCallerBusy) {
				status = route.CallerLimitStatus
			}
			w.Header().Set("Retry-After", "1")
			// The body is not read, so the connection cannot serve another request.
			w.Header().Set("Connection", "close")
			route.WriteError(w, r, status, err.Error())
			return
		}
		next.ServeHTTP(w, r)
	}
}

// requestID returns the caller's id for the request if it can be logged, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get(RequestID)
	if id == "" || len(id) > maxRequestID || strings.Trim(id, requestIDChars) != "" {
		return uuid.NewString()
	}
	return id
}

// callerLimiter limits the requests in flight of each caller. No caller can use the whole limit of the server.
type callerLimiter struct {
	limit int

	mu       sync.Mutex
	inFlight map[string]int
}

// acquire reports whether the caller is below its limit, and then counts one more request.
func (l *callerLimiter) acquire(caller string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight[caller] >= l.limit {
		return false
	}
	l.inFlight[caller]++
	return true
}

func (l *callerLimiter) release(caller string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight[caller]--; l.inFlight[caller] == 0 {
		delete(l.inFlight, caller)
	}
}

// rejectCrossOrigin keeps web pages from using the gateway through a browser that can reach it. It rejects requests
// that change something and come from another site. On loopback, where callers may need no token, it also rejects
// Host names other than loopback's: a page can point its name there.
func (s *Server) rejectCrossOrigin(next http.Handler) http.Handler {
	next = http.NewCrossOriginProtection().Handler(next)
	if !s.opts.Loopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopbackHost(r.Host) {
			writeText(w, http.StatusForbidden, "this listener serves loopback names only, such as localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopbackHost reports whether a Host header names this machine. HTTP/1.0 has no Host header.
func isLoopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "" || strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
