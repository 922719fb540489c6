// SPDX-License-Identifier: Apache-2.0

package inbox

import (
	"embed"
	"encoding/json"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"strings"
)

//go:embed web
var web embed.FS

var page = template.Must(template.ParseFS(web, "web/index.html"))

// policy restricts the page to its own files, without inline code, because the messages that it shows are not trusted.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (i *Inbox) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", i.page)
	for _, name := range []string{"app.js", "render.js", "style.css", "icon.svg", "picture.svg"} {
		mux.HandleFunc("GET /"+name, asset(name))
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /api/overview", i.overview)
	mux.HandleFunc("GET /api/users", i.users)
	mux.HandleFunc("GET /api/groups", i.groups)
	mux.HandleFunc("GET /api/messages", i.messages)
	mux.HandleFunc("GET /api/events", i.events)
	mux.HandleFunc("POST /api/reads", i.read)
	mux.HandleFunc("GET /api/faults", i.listFaults)
	mux.HandleFunc("PUT /api/faults", i.setFaults)
	mux.HandleFunc("POST /api/faults", i.addFault)
	mux.HandleFunc("DELETE /api/faults", i.clearFaults)
	mux.HandleFunc("DELETE /api/faults/{id}", i.removeFault)
	// A page of another origin must neither change anything nor, with a name that
	// it resolves to this machine, read messages.
	return i.secure(http.NewCrossOriginProtection().Handler(mux))
}

func (i *Inbox) secure(next http.Handler) http.Handler {
	local := loopback(i.address)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if local && !loopback(r.Host) {
			fail(w, http.StatusForbidden, "this inbox answers on loopback names only")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		next.ServeHTTP(w, r)
	})
}

// loopback reports whether a host, with or without a port, is this machine.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (i *Inbox) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, i.options); err != nil {
		i.options.Log.V(1).Info("Cannot write the page", "error", err.Error())
	}
}

func asset(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		files, err := fs.Sub(web, "web")
		if err != nil {
			fail(w, http.StatusInternalServerError, "no such asset")
			return
		}
		http.ServeFileFS(w, r, files, name)
	}
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	// A disconnected reader needs no answer.
	_ = json.NewEncoder(w).Encode(value)
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message})
}
