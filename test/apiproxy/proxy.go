// SPDX-License-Identifier: Apache-2.0

package apiproxy

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"

	"k8s.io/client-go/rest"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
)

// Proxy passes requests on with its own credentials, unless a rule fires.
type Proxy struct {
	server  *httptest.Server
	reverse *httputil.ReverseProxy
	rules   fault.Rules[*http.Request, Action]

	mu      sync.Mutex
	gone    bool
	refused int
	conns   map[net.Conn]struct{}
}

// Start starts a proxy on a free loopback port before the API server of cfg.
func Start(cfg *rest.Config) (*Proxy, error) {
	target, err := url.Parse(cfg.Host)
	transport, err2 := rest.TransportFor(cfg)
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("start a proxy before the API server: %w", err)
	}
	p := &Proxy{conns: map[net.Conn]struct{}{}}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // watches are streams
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	// It speaks HTTP/1 only: the end of a connection concerns one request.
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.server.Config.ConnState = p.connState
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections are closed on purpose
	p.server.StartTLS()
	return p, nil
}

// Config is the configuration of a client of the proxy.
func (p *Proxy) Config() *rest.Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	return &rest.Config{Host: p.server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

// Stop closes all connections.
func (p *Proxy) Stop() { _ = p.server.Config.Close() }

// SetGone makes the API server look gone: all connections are closed, and each new one is closed at once and counted,
// until gone is set to false.
func (p *Proxy) SetGone(gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = gone
	if gone {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

// Refused returns how many connections were closed while the API server looked gone.
func (p *Proxy) Refused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

func (p *Proxy) connState(c net.Conn, s http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch s {
	case http.StateNew:
		if p.gone {
			p.refused++
			_ = c.Close()
			return
		}
		p.conns[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(p.conns, c)
	case http.StateActive, http.StateIdle:
	}
}
