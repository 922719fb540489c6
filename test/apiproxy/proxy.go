// SPDX-License-Identifier: Apache-2.0

// Package apiproxy is an HTTPS proxy before a kube-apiserver, for one client that
// it speaks for. It does on purpose what an API server does on a bad day: each
// Rule counts how often it really did.
package apiproxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
)

// Proxy passes requests on, as the client whose certificate it has.
type Proxy struct {
	listener net.Listener
	server   *http.Server
	reverse  *httputil.ReverseProxy
	ca       []byte
	rules    fault.Rules[*http.Request, Action]

	mu      sync.Mutex
	gone    bool
	refused int
	conns   map[net.Conn]struct{}
}

// Start starts a proxy on a free loopback port before the API server of cfg.
func Start(ctx context.Context, cfg *rest.Config) (*Proxy, error) {
	target, err := url.Parse(cfg.Host)
	if err != nil {
		return nil, fmt.Errorf("start a proxy before the API server: %w", err)
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("start a proxy before the API server: %w", err)
	}
	certificate, ca, err := selfSigned()
	if err != nil {
		return nil, fmt.Errorf("make the proxy's certificate: %w", err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a proxy before the API server: %w", err)
	}
	p := &Proxy{listener: listener, ca: ca, conns: map[net.Conn]struct{}{}}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // watches are streams
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = &http.Server{
		Handler:           http.HandlerFunc(p.serve),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // cut connections are what it is for
		ConnState:         p.connState,
		// HTTP/1 alone: a connection that is cut takes one request with it.
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
		},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	go func() { _ = p.server.ServeTLS(&guarded{listener, p}, "", "") }() // ends with Stop
	return p, nil
}

// Config is the client configuration with which to reach the API server through
// the proxy.
func (p *Proxy) Config() *rest.Config {
	return &rest.Config{Host: "https://" + p.listener.Addr().String(), TLSClientConfig: rest.TLSClientConfig{CAData: p.ca}}
}

// Stop closes every connection.
func (p *Proxy) Stop() { _ = p.server.Close() }

// SetGone lets the API server look gone: every connection is cut, and every new
// one closed at once and counted, until it is set to false.
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

// Refused is how many connections were closed while the API server looked gone.
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
		p.conns[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(p.conns, c)
	case http.StateActive, http.StateIdle:
	}
}

// guarded closes at once what connects while the API server is to look gone.
type guarded struct {
	net.Listener
	proxy *Proxy
}

// Accept implements net.Listener.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g.proxy.mu.Lock()
		gone := g.proxy.gone
		if gone {
			g.proxy.refused++
		}
		g.proxy.mu.Unlock()
		if !gone {
			return c, nil
		}
		_ = c.Close()
	}
}

func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "apiproxy"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
