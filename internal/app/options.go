// Package app puts the operator together: options, scheme, manager and the list
// of what runs in it.
package app

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/gateway"
)

// inClusterNamespace is where a pod finds the namespace that it runs in.
const inClusterNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// Options configure the operator.
type Options struct {
	// Kubeconfig is a file; empty: KUBECONFIG, the pod's service account, or
	// ~/.kube/config, in that order.
	Kubeconfig string
	// LeaderElectionNamespace holds the Lease by which one operator at a time sends.
	LeaderElectionNamespace string
	// HealthProbeBindAddress serves /healthz and /readyz; "0": not at all.
	HealthProbeBindAddress string
	// MetricsBindAddress serves /metrics; "0": not at all.
	MetricsBindAddress string
	// MetricsSecure serves them with TLS, to those whom the cluster lets read them.
	MetricsSecure bool
	// MetricsCertPath holds tls.crt and tls.key; empty: a certificate is made, which
	// nobody can verify.
	MetricsCertPath string
	// PprofBindAddress serves Go's profiles, on loopback only; "0": not at all.
	PprofBindAddress string
	// OTLPEndpoint is the URL of a collector that takes traces; empty: what
	// OpenTelemetry's environment variables say, which is nothing for the most part.
	OTLPEndpoint string
	// TraceSamplingRatio of the messages are traced.
	TraceSamplingRatio float64
	// DrainTimeout bounds the wait, at shutdown, for answers in flight.
	DrainTimeout time.Duration
	// LogFormat is json or text, LogLevel debug, info or error.
	LogFormat, LogLevel string
	// Gateway is what this process serves beside its work; address "0": nothing.
	Gateway gateway.Options

	// flags know which of them were set.
	flags *pflag.FlagSet
}

// Flags adds the options to a flag set, with their defaults.
func (o *Options) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "",
		"kubeconfig `file`; left out: $KUBECONFIG, the pod's service account, or ~/.kube/config")
	fs.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", podNamespace(),
		"`namespace` of the Lease by which one operator at a time sends; the pod's own in a cluster")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", ":8081", "`host:port` of /healthz and /readyz; 0 turns them off")
	fs.StringVar(&o.MetricsBindAddress, "metrics-bind-address", ":8443", "`host:port` of /metrics; 0 turns them off")
	fs.BoolVar(&o.MetricsSecure, "metrics-secure", true,
		"serve /metrics with TLS, to bearer tokens that the cluster permits to get /metrics; without, in clear to whoever reaches the port")
	fs.StringVar(&o.MetricsCertPath, "metrics-cert-path", "",
		"`folder` with tls.crt and tls.key for /metrics, read anew when they change; left out, a self-signed certificate is made")
	fs.StringVar(&o.PprofBindAddress, "pprof-bind-address", "0", "loopback `host:port` of Go's profiles at /debug/pprof; 0 turns them off")
	fs.StringVar(&o.OTLPEndpoint, "otlp-endpoint", "",
		"`URL` of an OpenTelemetry collector that takes traces over HTTP, such as http://collector:4318; left out, $OTEL_EXPORTER_OTLP_ENDPOINT; neither, no traces")
	fs.Float64Var(&o.TraceSamplingRatio, "trace-sampling-ratio", 1, "`part` of the messages that are traced, 0 to 1")
	fs.DurationVar(&o.DrainTimeout, "drain-timeout", 25*time.Second,
		"how long a shutdown waits for answers in flight; below the pod's terminationGracePeriodSeconds")
	fs.StringVar(&o.LogFormat, "log-format", "json", "`format` of the log: json or text")
	fs.StringVar(&o.LogLevel, "log-level", "info", "`level` of the log: debug, info or error")
	o.gatewayFlags(fs)
}

func podNamespace() string {
	if b, err := os.ReadFile(inClusterNamespace); err == nil {
		return strings.TrimSpace(string(b))
	}
	return "default"
}

// Validate says in one line what is wrong with the options.
func (o *Options) Validate() error {
	switch {
	case o.LeaderElectionNamespace == "":
		return errors.New("--leader-election-namespace must not be empty")
	case o.DrainTimeout <= 0:
		return fmt.Errorf("--drain-timeout must be positive, not %s", o.DrainTimeout)
	}
	if err := o.validateObservation(); err != nil {
		return err
	}
	if err := o.validateGateway(); err != nil {
		return err
	}
	return o.validateLog()
}

func (o *Options) validateLog() error {
	if o.LogFormat != "json" && o.LogFormat != "text" {
		return fmt.Errorf("--log-format must be json or text, not %q", o.LogFormat)
	}
	_, err := o.level()
	return err
}

func (o *Options) level() (zapcore.Level, error) {
	switch o.LogLevel {
	case "debug":
		return zapcore.DebugLevel, nil
	case "info":
		return zapcore.InfoLevel, nil
	case "error":
		return zapcore.ErrorLevel, nil
	}
	return 0, fmt.Errorf("--log-level must be debug, info or error, not %q", o.LogLevel)
}
