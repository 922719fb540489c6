// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// requestInfo is what the log, the metrics and the limit per caller need to know about a request.
// Only the goroutine that serves the request uses it.
type requestInfo struct {
	http.ResponseWriter
	// status is the HTTP status of the answer, 0 before there is one.
	status int
	// errorCode is the operation's own, empty if it has none.
	errorCode string
	logValues []any

	// server is whose limits count the request; nil if none does. caller is who it counts for.
	server *Server
	caller string
	// connection serves the request while it is in flight, and waits otherwise.
	connection *connection
	inFlight   bool
	// body is nil unless ReadBody was called.
	body *body
}

// BusyError reports that a limit is reached, and that the caller should retry later.
type BusyError struct {
	// Status is the HTTP status to answer with.
	Status int
	detail string
}

// Error implements error.
func (e *BusyError) Error() string { return e.detail }

// Errors of enter.
var (
	errServerBusy = &BusyError{http.StatusServiceUnavailable, "too many requests in flight: try again later"}
	errCallerBusy = &BusyError{
		http.StatusTooManyRequests, "too many requests from your address in flight: try again later",
	}
	errTooLate = &BusyError{
		http.StatusRequestTimeout, "the request took too long to arrive, and nothing was sent: try again",
	}
)

// enter takes a place of the caller and one of the server. It waits briefly for the latter, because requests of callers
// that are not known yet hold one for a short time. Meanwhile the connection waits. It returns a BusyError if there is
// none.
func (i *requestInfo) enter(ctx context.Context) error {
	s := i.server
	if !s.callers.acquire(i.caller) {
		if s.callers.limit >= s.opts.MaxInFlight {
			return errServerBusy
		}
		return errCallerBusy
	}
	place, cancel := context.WithTimeout(ctx, placeTimeout)
	defer cancel()
	if s.inFlight.Acquire(place, 1) != nil {
		s.callers.release(i.caller)
		if ctx.Err() != nil { // the body took the request's time
			return errTooLate
		}
		return errServerBusy
	}
	i.inFlight = true
	i.connection.serve()
	return nil
}

// leave releases the places, if the request has them.
func (i *requestInfo) leave() {
	if !i.inFlight {
		return
	}
	i.inFlight = false
	i.connection.wait()
	i.server.callers.release(i.caller)
	i.server.inFlight.Release(1)
}

// release ends what the request holds.
func (i *requestInfo) release() {
	i.leave()
	if i.body != nil {
		i.body.release()
	}
}

type requestInfoKey struct{}

// infoOf returns the request's info. A request that no Server serves has an empty one.
func infoOf(ctx context.Context) *requestInfo {
	if info, ok := ctx.Value(requestInfoKey{}).(*requestInfo); ok {
		return info
	}
	return &requestInfo{}
}

// SetErrorCode sets the operation's own error code, for the log and the metrics. There must be few different codes.
func SetErrorCode(ctx context.Context, code int) {
	infoOf(ctx).errorCode = strconv.Itoa(code)
}

// AddLogValue adds a value to the request's line in the log. It must not be a text, key or token.
func AddLogValue(ctx context.Context, name, value string) {
	info := infoOf(ctx)
	info.logValues = append(info.logValues, name, value)
}

// Identify counts the request for a caller, once that is known, and reports whether the caller is below its limit.
// Until then the request is counted for its address, which a proxy may share among callers.
func Identify(ctx context.Context, caller string) bool {
	info, caller := infoOf(ctx), "caller "+caller
	if info.server == nil || info.caller == caller {
		return true
	}
	if !info.server.callers.acquire(caller) {
		return false
	}
	info.server.callers.release(info.caller)
	info.caller = caller
	return true
}

// WriteHeader implements http.ResponseWriter.
func (i *requestInfo) WriteHeader(status int) {
	if i.status == 0 {
		i.status = status
	}
	i.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (i *requestInfo) Write(b []byte) (int, error) {
	if i.status == 0 {
		i.status = http.StatusOK
	}
	return i.ResponseWriter.Write(b)
}

// Unwrap is how http.ResponseController finds the connection.
func (i *requestInfo) Unwrap() http.ResponseWriter { return i.ResponseWriter }

// Detach returns a context for work that continues even if the caller disconnects. It has the values and the deadline
// of the request's context, and ends when a shutdown does not wait for requests any more.
func Detach(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := handleTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	}
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	info := infoOf(ctx)
	if info.server == nil {
		return detached, cancel
	}
	stop := context.AfterFunc(info.server.lifetime, cancel)
	return detached, func() { stop(); cancel() }
}
