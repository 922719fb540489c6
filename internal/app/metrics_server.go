package app

import (
	"crypto/tls"
	"net/http"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
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

// metricsReaders lets those in whose token the cluster knows, and whom it permits to get
// the URL. controller-runtime's own filter answers a token that is not known with 500,
// as if something were out of order here.
func metricsReaders(cfg *rest.Config, client *http.Client) (server.Filter, error) {
	reviewer, err := access.NewReviewer(cfg, client, nil)
	if err != nil {
		return nil, err
	}
	return func(_ logr.Logger, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			denial := mayRead(reviewer, r)
			if denial == nil {
				next.ServeHTTP(w, r)
				return
			}
			status := http.StatusUnauthorized
			switch denial.Kind {
			case access.Forbidden:
				status = http.StatusForbidden
			case access.Unavailable:
				status = http.StatusServiceUnavailable
			default:
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			http.Error(w, denial.Detail, status)
		}), nil
	}, nil
}

// mayRead says why who asks may not get the URL; nil: may.
func mayRead(reviewer access.Reviewer, r *http.Request) *access.Denial {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return &access.Denial{Kind: access.NoCredentials, Detail: "send a Kubernetes token: Authorization: Bearer TOKEN"}
	}
	user, denial := reviewer.Token(r.Context(), token)
	if denial != nil {
		return denial
	}
	return reviewer.MayGet(r.Context(), user, r.URL.Path)
}
