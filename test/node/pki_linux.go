// SPDX-License-Identifier: Apache-2.0

package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
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

func newPKI(dir string) *pki {
	p := &pki{dir: dir}
	framework.Must(os.MkdirAll(dir, 0o700))
	template := p.template("teamtalk-node", nil)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	p.pem, p.key = p.sign("ca", template, nil, nil)
	block, _ := pem.Decode(p.pem)
	p.cert = framework.MustGet(x509.ParseCertificate(block.Bytes))
	return p
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
func (p *pki) sign(file string, template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	key := framework.MustGet(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	if parent == nil {
		parent, by = template, key
	}
	der := framework.MustGet(x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by))
	private := framework.MustGet(x509.MarshalECPrivateKey(key))
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	framework.Must(os.WriteFile(p.certFile(file), cert, 0o600))
	framework.Must(os.WriteFile(p.keyFile(file),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600))
	return cert, key
}

func (p *pki) certFile(name string) string { return filepath.Join(p.dir, name+".crt") }
func (p *pki) keyFile(name string) string  { return filepath.Join(p.dir, name+".key") }

func (p *pki) server(file string, names []string, addresses ...string) {
	template := p.template(file, nil)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = names
	for _, a := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(a))
	}
	p.sign(file, template, p.cert, p.key)
}

func (p *pki) client(file, user string, groups ...string) {
	template := p.template(user, groups)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	p.sign(file, template, p.cert, p.key)
}

// config returns the client configuration of a user whose certificate exists.
func (p *pki) config(file, server string) *rest.Config {
	return &rest.Config{
		Host: server, TLSClientConfig: rest.TLSClientConfig{
			CAData: p.pem, CertData: framework.MustGet(os.ReadFile(p.certFile(file))),
			KeyData: framework.MustGet(os.ReadFile(p.keyFile(file))),
		},
		QPS: 1000, Burst: 2000, // client-go's limits would slow the tests
	}
}

// kubeconfig creates a client certificate and kubeconfig for a user, and returns its path.
func (p *pki) kubeconfig(file, server, user string, groups ...string) string {
	p.client(file, user, groups...)
	path := filepath.Join(p.dir, file+".kubeconfig")
	framework.Must(framework.WriteKubeconfig(path, p.config(file, server)))
	return path
}
