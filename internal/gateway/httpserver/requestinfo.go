// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"net/http"
	"strconv"
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
	// callers counts the request for caller; nil if it is not counted.
	callers *callerLimiter
	caller  string
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
	if info.callers == nil || info.caller == caller {
		return true
	}
	if !info.callers.acquire(caller) {
		return false
	}
	info.callers.release(info.caller)
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
