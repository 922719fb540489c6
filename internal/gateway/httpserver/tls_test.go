// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"
)

// writeCertificate writes a self-signed certificate for loopback, and returns it.
func writeCertificate(t *testing.T, certFile, keyFile string) (certPEM []byte) {
	t.Helper()
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o600), os.WriteFile(keyFile, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	return certPEM
}

// TestTLS: a certificate is served, and replaced without a restart.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	first := writeCertificate(t, certFile, keyFile)
	s := serve(t, Options{CertFile: certFile, KeyFile: keyFile})
	served := func(trust []byte) bool {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(trust)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
		r, err := (&http.Client{Transport: transport, Timeout: timeout}).Get("https://" + s.address + "/healthz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	}
	if !served(first) {
		t.Fatal("the certificate is not served")
	}
	second := writeCertificate(t, certFile, keyFile)
	for deadline := time.Now().Add(timeout); !served(second); {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not served")
		}
	}
	s.stop()
	if err := s.end(); err != nil {
		t.Error(err)
	}
}

// TestNoCertificate: the server does not start without its certificate.
func TestNoCertificate(t *testing.T) {
	s := serve(t, Options{CertFile: filepath.Join(t.TempDir(), "absent"), KeyFile: "absent"})
	if err := s.end(); err == nil {
		t.Error("it serves without a certificate")
	}
}
