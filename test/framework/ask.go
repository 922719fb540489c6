// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	certutil "k8s.io/client-go/util/cert"
)

// Ask makes a request. It returns the answer and its body. Headers are name, value, name, value.
func Ask(ctx context.Context, c *http.Client, method, url, body string, headers ...string) (
	*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	for header := range slices.Chunk(headers, 2) {
		r.Header.Set(header[0], header[1])
	}
	r.Host = r.Header.Get("Host")
	answer, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer, string(b), err
}

// WriteCertificate writes tls.crt and tls.key for a host to dir. It returns a pool that trusts the certificate.
func WriteCertificate(dir, host string) (*x509.CertPool, error) {
	cert, key, err := certutil.GenerateSelfSignedCertKey(host, nil, nil)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(cert)
	return trusted, errors.Join(os.WriteFile(filepath.Join(dir, "tls.crt"), cert, 0o600),
		os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600))
}
