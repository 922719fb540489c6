// Package httpserver is the gateway's listener, with a bound on everything: bodies,
// headers, times, connections, requests in flight. What is served is mounted on it
// as routes, which need not think of any of that.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	"golang.org/x/net/netutil"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// Route is something that is served.
type Route struct {
	// Pattern is what http.ServeMux takes: "POST /query/SendSingleMessage".
	Pattern string
	// Name is the endpoint's in metrics and logs; it must not hold anything of a
	// request.
	Name string
	// Handler serves it. Its request's body and time are bounded, and its context
	// is done when the caller hangs up.
	Handler http.Handler
	// Refuse answers in Handler's place, in the endpoint's own form: with 503 where
	// too much is in flight, with Excess where too much is of one caller, with 500
	// after a panic. nil: one line of text.
	Refuse func(w http.ResponseWriter, status int, detail string)
	// Excess is the HTTP status of what is beyond a caller's own bound; 0: 429. It
	// must be one at which the endpoint's callers come again.
	Excess int
}

// Server serves routes. It is a manager's Runnable.
type Server struct {
	opts     Options
	log      logr.Logger
	mux      *http.ServeMux
	inFlight chan struct{}
	callers  *callers
	draining atomic.Bool

	mu       sync.Mutex
	listener net.Listener
	checks   map[string]func(context.Context) error
}

// New returns a Server that listens to nothing yet.
func New(opts Options, log logr.Logger) *Server {
	s := &Server{
		opts: opts, log: log, mux: http.NewServeMux(), inFlight: make(chan struct{}, opts.MaxInFlight),
		callers: newCallers(opts.perCaller()), checks: map[string]func(context.Context) error{},
	}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	s.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Ready(r.Context()); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		plain(w, http.StatusOK, "ok")
	})
	s.mux.Handle("/", s.bound(Route{Name: "unknown", Handler: http.NotFoundHandler()}))
	return s
}

// Handle mounts a route. It must be called before Start.
func (s *Server) Handle(r Route) { s.mux.Handle(r.Pattern, s.bound(r)) }

// Check adds a condition of /readyz. It must be called before Start.
func (s *Server) Check(name string, check func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks[name] = check
}

// Ready says why the server should get no requests now; nil: it should.
func (s *Server) Ready(ctx context.Context) error {
	if s.draining.Load() {
		return errors.New("shutting down")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return errors.New("not listening yet")
	}
	for name, check := range s.checks {
		if err := check(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// NeedLeaderElection says that standbys of a manager serve, too.
func (s *Server) NeedLeaderElection() bool { return false }

// Listen binds the address, so that it fails early, and returns what was bound.
// Start does it where it was not done.
func (s *Server) Listen() (net.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		l, err := net.Listen("tcp", s.opts.Address)
		if err != nil {
			return nil, fmt.Errorf("listen at --%sbind-address: %w", s.opts.prefix, err)
		}
		s.listener = netutil.LimitListener(l, maxConnections)
	}
	return s.listener.Addr(), nil
}

// Start serves until ctx is done; then it takes no new requests, waits for those
// in flight within DrainTimeout, and returns.
func (s *Server) Start(ctx context.Context) error {
	address, err := s.Listen()
	if err != nil {
		return err
	}
	s.mu.Lock()
	listener := s.listener
	s.mu.Unlock()
	server := &http.Server{
		Handler:           s.guard(s.mux),
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaders,
		ErrorLog:       errorLog(s.log),
	}
	if s.opts.CertFile != "" {
		certificate, err := certwatcher.New(s.opts.CertFile, s.opts.KeyFile)
		if err != nil {
			_ = listener.Close()
			return fmt.Errorf("load --%[1]stls-cert-file and --%[1]stls-key-file: %[2]w", s.opts.prefix, err)
		}
		watching, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		go func() {
			if err := certificate.Start(watching); err != nil {
				s.log.Error(err, "the certificate's files are not watched any more")
			}
		}()
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.GetCertificate}
	}
	ended, secure := make(chan error, 1), server.TLSConfig != nil
	go func() {
		if secure {
			ended <- server.ServeTLS(listener, "", "")
			return
		}
		ended <- server.Serve(listener)
	}()
	s.log.Info("listening", "address", address.String(), "tls", secure)
	select {
	case err := <-ended:
		return fmt.Errorf("the listener has ended: %w", err)
	case <-ctx.Done():
	}
	return s.drain(ctx, server, ended)
}

func (s *Server) drain(ctx context.Context, server *http.Server, ended <-chan error) error {
	s.draining.Store(true)
	s.log.Info("draining: no new requests are taken")
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.DrainTimeout)
	defer cancel()
	err := server.Shutdown(waiting)
	if err != nil {
		_ = server.Close() // what is still in flight is cut
	}
	<-ended //nolint:errcheck // that it was shut down
	if err != nil {
		return fmt.Errorf("requests were still in flight after --drain-timeout: %w", err)
	}
	return nil
}

// plain answers with one line of text.
func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
