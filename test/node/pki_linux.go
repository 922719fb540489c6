// SPDX-License-Identifier: Apache-2.0

package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// pki creates the cluster's CA and certificates in a folder.
type pki struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	n    int64 // the last serial number
}

// validity exceeds the lifetime of a node.
const validity = 24 * time.Hour

func newPKI(dir string) (*pki, error) {
	p := &pki{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the folder of the certificates: %w", err)
	}
	template := p.template("teamtalk-node", nil)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	var err error
	if p.pem, p.key, err = p.sign("ca", template, nil, nil); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(p.pem)
	if p.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("create the cluster's CA: %w", err)
	}
	return p, nil
}

func (p *pki) template(name string, groups []string) *x509.Certificate {
	p.n++
	return &x509.Certificate{
		SerialNumber: big.NewInt(p.n), Subject: pkix.Name{CommonName: name, Organization: groups},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// sign creates a key and its certificate, and writes file.crt and file.key. Without a parent
// the certificate is self-signed.
func (p *pki) sign(file string, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (
	[]byte, *ecdsa.PrivateKey, error,
) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("create the key of %s: %w", file, err)
	}
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		return nil, nil, fmt.Errorf("create the certificate of %s: %w", file, err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key of %s: %w", file, err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, b := range map[string][]byte{
		p.certFile(file): cert,
		p.keyFile(file):  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}),
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			return nil, nil, fmt.Errorf("write certificates: %w", err)
		}
	}
	return cert, key, nil
}

func (p *pki) certFile(name string) string { return filepath.Join(p.dir, name+".crt") }
func (p *pki) keyFile(name string) string  { return filepath.Join(p.dir, name+".key") }

// server creates a server certificate.
func (p *pki) server(file string, names []string, addresses ...string) error {
	template := p.template(file, nil)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = names
	for _, a := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(a))
	}
	_, _, err := p.sign(file, template, p.cert, p.key)
	return err
}

// client creates a client certificate for a user.
func (p *pki) client(file, user string, groups ...string) error {
	template := p.template(user, groups)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	_, _, err := p.sign(file, template, p.cert, p.key)
	return err
}

// config returns the client configuration of a user whose certificate exists.
func (p *pki) config(file, server string) (*rest.Config, error) {
	cert, err := os.ReadFile(p.certFile(file))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(p.keyFile(file))
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host: server, TLSClientConfig: rest.TLSClientConfig{CAData: p.pem, CertData: cert, KeyData: key},
		QPS: 1000, Burst: 2000, // client-go's limits would slow the tests
	}, nil
}

// kubeconfig creates a client certificate and kubeconfig for a user, and returns its path.
func (p *pki) kubeconfig(file, server, user string, groups ...string) (string, error) {
	if err := p.client(file, user, groups...); err != nil {
		return "", err
	}
	config, err := p.config(file, server)
	if err != nil {
		return "", err
	}
	path := filepath.Join(p.dir, file+".kubeconfig")
	return path, framework.WriteKubeconfig(path, config)
}
