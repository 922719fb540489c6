// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/teamtalk-io/teamtalk-operator/internal/buildinfo"
)

// Readers of /metrics and callers of the gateway are authenticated and authorized by the API server.
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// Off is the bind address of an endpoint that is not served.
const Off = "0"

// MetricsOptions configure the endpoint /metrics.
type MetricsOptions struct {
	BindAddress string // host:port, or Off
	// Secure serves TLS and requires a token that may get /metrics. Otherwise it is plain HTTP for everybody.
	Secure bool
	// CertPath is a directory with tls.crt and tls.key. If empty, a self-signed certificate is used.
	CertPath string
}

// CertPathFlag adds the flag --metrics-cert-path.
func (o *MetricsOptions) CertPathFlag(fs *pflag.FlagSet) {
	fs.StringVar(&o.CertPath, "metrics-cert-path", "", "`directory` with tls.crt and tls.key for /metrics. "+
		"They are reloaded when they change. If empty, a self-signed certificate is used")
}

// Validate returns a one-line error.
func (o *MetricsOptions) Validate() error {
	if o.CertPath == "" {
		return nil
	}
	if !o.Secure {
		return errors.New("--metrics-cert-path requires --metrics-secure")
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		// If a file is missing, controller-runtime uses a self-signed certificate.
		if _, err := os.Stat(filepath.Join(o.CertPath, name)); err != nil {
			return fmt.Errorf("--metrics-cert-path must hold tls.crt and tls.key: %w", err)
		}
	}
	return nil
}

// Server returns the options of controller-runtime's metrics server.
func (o *MetricsOptions) Server() (server.Options, error) {
	s := server.Options{BindAddress: o.BindAddress, SecureServing: o.Secure, CertDir: o.CertPath}
	if !o.Secure || o.BindAddress == Off {
		return s, nil
	}
	s.FilterProvider = newMetricsFilter
	if o.CertPath == "" {
		// By default, controller-runtime loads a certificate from a directory in /tmp if there is one, and
		// does not renew the one that it generates.
		cert := &selfSigned{now: time.Now}
		if _, err := cert.GetCertificate(nil); err != nil {
			return s, err
		}
		s.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.GetCertificate = cert.GetCertificate }}
	}
	return s, nil
}

func init() { metrics.Registry.MustRegister(newBuildInfo(buildinfo.Get())) }

func newBuildInfo(i buildinfo.Info) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "teamtalk_operator_build_info",
		Help:        "Always 1. The labels identify the build.",
		ConstLabels: prometheus.Labels{"version": i.Version, "commit": i.Commit, "go": i.Go},
	}, func() float64 { return 1 })
}
