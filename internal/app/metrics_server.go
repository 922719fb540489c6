package app

import (
	"crypto/tls"

	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// Who asks for /metrics, or uses the gateway here, is asked about at the API server.
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// metricsServer configures what serves /metrics: secure, with TLS to those whom the
// cluster permits; else in clear to whoever reaches it. certDir holds tls.crt and
// tls.key; empty: certificates are made.
func metricsServer(address string, secure bool, certDir string) (server.Options, error) {
	s := server.Options{BindAddress: address, SecureServing: secure, CertDir: certDir}
	if !secure || address == off {
		return s, nil
	}
	s.FilterProvider = metricsReaders
	if certDir == "" {
		// Made here: left to itself, the server would look for one in a folder that
		// anybody may write to.
		own := newSelfSigned()
		if _, err := own.GetCertificate(nil); err != nil {
			return s, err
		}
		s.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.GetCertificate = own.GetCertificate }}
	}
	return s, nil
}
