// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-logr/logr"
	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// Route is an operation that a Server serves.
type Route struct {
	// Pattern is a pattern of http.ServeMux: "POST /query/SendSingleMessage".
	Pattern string
	// Name of the operation in metrics and logs. It must not depend on the request.
	Name string
	// Handler serves requests. Their bodies are limited, and their contexts have a deadline.
	Handler http.Handler
	// WriteError answers in the operation's own form where Handler does not: over a limit, and after a panic. If nil,
	// the answer is a line of text.
	WriteError func(w http.ResponseWriter, r *http.Request, status int, detail string)
	// CallerLimitStatus is the HTTP status over the limit of one address, at which callers try again. If 0, it is 429.
	CallerLimitStatus int
}

// Server serves routes. It is a manager's Runnable.
type Server struct {
	// NotFound answers where nothing is served, in the form of the routes. If nil, the answer is a line of text.
	// It must be set before Start.
	NotFound func(w http.ResponseWriter, r *http.Request, status int, detail string)

	opts     Options
	log      logr.Logger
	mux      *http.ServeMux
	inFlight *semaphore.Weighted
	callers  *callerLimiter
	bodies   *bodies
	draining atomic.Bool
	// lifetime ends when requests in flight are not waited for any more; see Detach.
	lifetime context.Context
	end      context.CancelFunc
	checks   map[string]func(context.Context) error
	// listener is set by Listen.
	listener net.Listener
	// paths are those of the routes, with the names of their variable parts.
	paths   []string
	unknown http.Handler
}

// New returns a Server that does not listen yet.
func New(opts Options, log logr.Logger) *Server {
	s := &Server{
		opts: opts, log: log, mux: http.NewServeMux(), inFlight: semaphore.NewWeighted(int64(opts.MaxInFlight)),
		callers: &callerLimiter{limit: opts.perCaller(), inFlight: map[string]int{}},
		bodies:  newBodies(maxBodies, maxBodiesPerCaller),
		checks:  map[string]func(context.Context) error{},
	}
	s.lifetime, s.end = context.WithCancel(context.Background())
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok") })
	s.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Ready(r.Context()); err != nil {
			writeText(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		writeText(w, http.StatusOK, "ok")
	})
	s.unknown = s.wrap(Route{Name: "unknown", Handler: http.HandlerFunc(s.notFound)})
	s.mux.Handle("/", s.unknown)
	return s
}

// Handle adds a route. It must be called before Start.
func (s *Server) Handle(r Route) {
	s.mux.Handle(r.Pattern, s.wrap(r))
	if _, served, _ := strings.Cut(r.Pattern, "/"); !slices.Contains(s.paths, "/"+served) {
		s.paths = append(s.paths, "/"+served)
	}
}

// notFound answers requests that no route serves. It lists the routes, but does not reveal which objects exist.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	detail := "nothing is served at this path; served paths: " +
		strings.Join(slices.Sorted(slices.Values(s.paths)), ", ")
	if s.NotFound == nil {
		writeText(w, http.StatusNotFound, detail)
		return
	}
	s.NotFound(w, r, http.StatusNotFound, detail)
}

// withoutRedirects serves paths that the mux would redirect to their shortest form: callers do not follow redirects
// with a body.
func (s *Server) withoutRedirects(w http.ResponseWriter, r *http.Request) {
	escaped := r.URL.EscapedPath() // as the mux: an escaped dot is a name's
	if clean := path.Clean(escaped); clean != escaped && clean != strings.TrimSuffix(escaped, "/") {
		s.unknown.ServeHTTP(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Check adds a check to /readyz. It must be called before Start.
func (s *Server) Check(name string, check func(context.Context) error) { s.checks[name] = check }

// Ready returns an error while the server should not receive requests.
func (s *Server) Ready(ctx context.Context) error {
	if s.draining.Load() {
		return errors.New("shutting down")
	}
	for name, check := range s.checks {
		if err := check(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica serves.
func (s *Server) NeedLeaderElection() bool { return false }

// Listen binds the address. It must be called before Start, so that a wrong address is an error at startup.
func (s *Server) Listen() error {
	l, err := listenBounded(s.opts.Address, newConnections(maxConnections, maxConnectionsPerAddress))
	if err != nil {
		return fmt.Errorf("listen at --%sbind-address: %w", s.opts.prefix, err)
	}
	s.listener = l
	return nil
}

// Start serves until ctx is done. Then it waits for the requests in flight, at most DrainTimeout.
func (s *Server) Start(ctx context.Context) error {
	defer s.end()
	server := &http.Server{
		Handler:           s.rejectCrossOrigin(http.HandlerFunc(s.withoutRedirects)),
		ConnContext:       withConnection,
		Protocols:         &http.Protocols{},
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(s.log), slog.LevelInfo),
	}
	// Not HTTP/2: the limits count on one request at a time for each connection.
	server.Protocols.SetHTTP1(true)
	certificates, stop := context.WithCancel(context.WithoutCancel(ctx)) // until it is drained
	defer stop()
	serve := func() error { return server.Serve(s.listener) }
	if s.opts.CertFile != "" {
		var err error
		if server.TLSConfig, err = s.tlsConfig(certificates); err != nil {
			return errors.Join(err, s.listener.Close())
		}
		serve = func() error { return server.ServeTLS(s.listener, "", "") }
	}
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	s.log.Info("listening", "address", s.listener.Addr().String(), "tls", s.opts.CertFile != "")
	select {
	case err := <-ended:
		return fmt.Errorf("the listener has ended: %w", err)
	case <-ctx.Done():
	}
	return s.drain(ctx, server, ended)
}

// tlsConfig loads the certificate, and loads it again when its files change, until ctx is done.
func (s *Server) tlsConfig(ctx context.Context) (*tls.Config, error) {
	certificate, err := certwatcher.New(s.opts.CertFile, s.opts.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load --%[1]stls-cert-file and --%[1]stls-key-file: %[2]w", s.opts.prefix, err)
	}
	go func() {
		if err := certificate.Start(ctx); err != nil {
			s.log.Error(err, "the files of the certificate are not watched any more")
		}
	}()
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.GetCertificate}, nil
}

func (s *Server) drain(ctx context.Context, server *http.Server, ended <-chan error) error {
	s.draining.Store(true)
	s.log.Info("draining: the gateway accepts no new requests")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.DrainTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if err != nil {
		s.end()
		_ = server.Close() // aborts the requests that are still in flight
		err = fmt.Errorf("requests were still in flight after --drain-timeout: %w", err)
	}
	<-ended //nolint:errcheck // it is http.ErrServerClosed
	return err
}

// writeText answers with one line of text.
func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
