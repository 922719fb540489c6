// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

const (
	selfSignedLifetime = 365 * 24 * time.Hour
	// selfSignedOverlap is the remaining lifetime at which a certificate is renewed.
	selfSignedOverlap = 30 * 24 * time.Hour
)

// selfSigned generates self-signed certificates and renews them before they expire.
type selfSigned struct {
	now func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
}

// GetCertificate is for tls.Config.
func (s *selfSigned) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.current != nil && now.Before(s.current.Leaf.NotAfter.Add(-selfSignedOverlap)) {
		return s.current, nil
	}
	cert, err := generateSelfSigned(now)
	if err != nil {
		if s.current != nil {
			return s.current, nil // until the next attempt
		}
		return nil, fmt.Errorf("generate a certificate for /metrics: %w", err)
	}
	s.current = cert
	return cert, nil
}

func generateSelfSigned(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: Name},
		// The clock of a client may be slow.
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLifetime),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
