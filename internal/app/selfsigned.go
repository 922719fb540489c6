package app

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
	// selfSignedLife is how long a certificate of one's own is valid.
	selfSignedLife = 365 * 24 * time.Hour
	// selfSignedSpare is how much of it is left when the next one is made: whoever
	// pins certificates has that long to look.
	selfSignedSpare = 30 * 24 * time.Hour
)

// selfSigned makes certificates that nobody can verify, each before the one before it
// expires: a process may run for years.
type selfSigned struct {
	now func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	expires time.Time
}

func newSelfSigned() *selfSigned { return &selfSigned{now: time.Now} }

// GetCertificate is what a tls.Config asks.
func (s *selfSigned) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.current != nil && now.Before(s.expires.Add(-selfSignedSpare)) {
		return s.current, nil
	}
	made, err := makeSelfSigned(now)
	if err != nil {
		if s.current != nil {
			return s.current, nil // it is tried again; until then this one has to do
		}
		return nil, fmt.Errorf("make a certificate for /metrics: %w", err)
	}
	s.current, s.expires = made, made.Leaf.NotAfter
	return made, nil
}

func makeSelfSigned(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: Name},
		// Clocks of others may be behind.
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLife),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
