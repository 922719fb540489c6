// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"
)

// TestSelfSignedIsRenewed: the certificate of a server that runs for years is always valid.
func TestSelfSignedIsRenewed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	own := newSelfSigned()
	own.now = func() time.Time { return now }
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: own.GetCertificate, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
			}()
		}
	}()
	made := map[string]bool{}
	const days, every = 1000, 10
	for range days / every {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // verified below
		if err != nil {
			t.Fatal(err)
		}
		leaf := c.ConnectionState().PeerCertificates[0]
		_ = c.Close()
		roots := x509.NewCertPool()
		roots.AddCert(leaf)
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost", CurrentTime: now}); err != nil {
			t.Fatalf("at %s: %v", now, err)
		}
		made[leaf.SerialNumber.String()] = true
		now = now.Add(every * 24 * time.Hour)
	}
	// Each serves for 335 days.
	if len(made) != 3 {
		t.Errorf("%d certificates in %d days, want 3", len(made), days)
	}
}
