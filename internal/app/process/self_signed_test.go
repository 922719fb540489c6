// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/x509"
	"testing"
	"time"
)

// TestSelfSignedIsRenewed: the certificate of a server that runs for years is always valid.
func TestSelfSignedIsRenewed(t *testing.T) {
	now := time.Now()
	s := &selfSigned{now: func() time.Time { return now }}
	serials := map[string]bool{}
	const days, every = 1000, 10
	for range days / every {
		c, err := s.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(c.Leaf)
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost", CurrentTime: now}); err != nil {
			t.Fatalf("at %s: %v", now, err)
		}
		serials[c.Leaf.SerialNumber.String()] = true
		now = now.Add(every * 24 * time.Hour)
	}
	// Each serves for 335 days.
	if len(serials) != 3 {
		t.Errorf("%d certificates in %d days, want 3", len(serials), days)
	}
}
