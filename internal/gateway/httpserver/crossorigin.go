// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"net"
	"net/http"
	"strings"
)

// rejectCrossOrigin keeps web pages from using the gateway through a browser that can reach it. It
// rejects requests that change something and come from another site. On loopback, where callers may
// need no token, it also rejects Host names other than loopback's: a page can point its name there.
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
