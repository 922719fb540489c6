package httpserver

import (
	"net"
	"net/http"
	"strings"
)

// guard keeps web pages from using the gateway through the browser of somebody who
// can reach it: changes that another site's page asks for are refused, and on
// loopback, where a caller may need no token, so is any name that is not loopback's,
// as a page could have its own name point there.
func (s *Server) guard(next http.Handler) http.Handler {
	next = http.NewCrossOriginProtection().Handler(next)
	if !s.opts.Loopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackName(r.Host) {
			plain(w, http.StatusForbidden, "this listener answers to loopback names alone, such as localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loopbackName reports whether a Host header names this machine itself; HTTP/1.0 has
// none.
func loopbackName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "" || strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
