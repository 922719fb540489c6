package httpserver

import (
	"context"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
)

// RequestID is the header by which a request is found in the log. A caller may
// choose it; every answer bears it.
const RequestID = "X-Request-Id"

// maxRequestID is how long a caller's own may be.
const maxRequestID = 64

// bound puts the bounds around a route's handler.
func (s *Server) bound(route Route) http.Handler {
	if route.Refuse == nil {
		route.Refuse = plain
	}
	if route.Excess == 0 {
		route.Excess = http.StatusTooManyRequests
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		id := requestID(r)
		answer := &recorder{ResponseWriter: w}
		w.Header().Set(RequestID, id)
		note := &Note{}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), noteKey{}, note), handleTimeout)
		defer cancel()
		ctx = logr.NewContext(ctx, s.log.WithValues("requestID", id))

		inFlight.Inc()
		defer func() {
			// Beside its own bounds, whatever a handler does wrong must end as an answer.
			if p := recover(); p != nil {
				// Not the value: it could hold something of the request.
				s.log.Info("a handler has panicked", "requestID", id, "endpoint", route.Name, "stack", string(debug.Stack()))
				if answer.status == 0 {
					route.Refuse(answer, http.StatusInternalServerError, "internal error, see the gateway's log for this request id")
				}
			}
			inFlight.Dec()
			s.done(r, route.Name, id, answer, note, time.Since(begin))
		}()

		refuse := func(status int, detail string) {
			answer.Header().Set("Retry-After", "1")
			// Its body is not read: the connection would have to be drained first.
			answer.Header().Set("Connection", "close")
			route.Refuse(answer, status, detail)
		}
		select {
		case s.inFlight <- struct{}{}:
			defer func() { <-s.inFlight }()
		default:
			refuse(http.StatusServiceUnavailable, "too many requests in flight: try again later")
			return
		}
		counted := &place{callers: s.callers, caller: "address " + addressOf(r)}
		if !s.callers.enter(counted.caller) {
			refuse(route.Excess, "too many requests from your address in flight: try again later")
			return
		}
		defer func() { s.callers.leave(counted.caller) }()
		ctx = context.WithValue(ctx, placeKey{}, counted)
		r = r.WithContext(ctx)
		r.Body = http.MaxBytesReader(answer, r.Body, MaxBody)
		route.Handler.ServeHTTP(answer, r)
	})
}

// done counts and logs a request that was answered.
func (s *Server) done(r *http.Request, endpoint, id string, answer *recorder, note *Note, took time.Duration) {
	status := answer.status
	if status == 0 {
		status = http.StatusOK
	}
	requests.WithLabelValues(endpoint, strconv.Itoa(status), note.code()).Inc()
	durations.WithLabelValues(endpoint).Observe(took.Seconds())
	values := append([]any{
		"requestID", id, "endpoint", endpoint, "status", status, "took", took.Round(time.Microsecond).String(), "from", r.RemoteAddr,
	}, note.values()...)
	s.log.Info("answered", values...)
}

// addressOf is where a request comes from, without the port.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func requestID(r *http.Request) string {
	id := r.Header.Get(RequestID)
	sane := strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
	if id == "" || len(id) > maxRequestID || !sane {
		return uuid.NewString()
	}
	return id
}

// recorder knows with what status was answered.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is how http.ResponseController finds the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// errorLog takes what net/http has to say: of connections, never of bodies.
func errorLog(to logr.Logger) *log.Logger { return log.New(lineWriter{to}, "", 0) }

type lineWriter struct{ to logr.Logger }

// Write implements io.Writer.
func (w lineWriter) Write(p []byte) (int, error) {
	w.to.Info("http", "message", strings.TrimSpace(string(p)))
	return len(p), nil
}
