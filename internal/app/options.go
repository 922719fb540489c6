// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/gateway"
	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/internal/tracing"
)

// Options configure the operator. Flags describes the fields.
type Options struct {
	Kubeconfig              string
	LeaderElectionNamespace string
	HealthProbeBindAddress  string
	PprofBindAddress        string
	Metrics                 process.MetricsOptions
	OTLPEndpoint            string
	TraceSamplingRatio      float64
	DrainTimeout            time.Duration
	Endpoints               process.EndpointOptions
	DBProxy                 process.DBProxyOptions
	Log                     process.LogOptions
	// Gateway is the gateway in the operator's process.
	Gateway gateway.Options

	// flags tell which of them were set.
	flags *pflag.FlagSet
}

// gatewayPrefix is the prefix of the flags of Options.Gateway.
const gatewayPrefix = "gateway-"

// Flags adds the options to a flag set.
func (o *Options) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", process.KubeconfigUsage)
	fs.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", process.PodNamespace(),
		"`namespace` of the leader election Lease. In a pod, the default is its namespace")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", ":8081",
		"`host:port` of /healthz and /readyz, or 0 to disable them")
	fs.StringVar(&o.Metrics.BindAddress, "metrics-bind-address", ":8443", "`host:port` of /metrics, or 0 to disable it")
	fs.BoolVar(&o.Metrics.Secure, "metrics-secure", true,
		"serve /metrics with TLS to bearer tokens that may get /metrics. If false, use plain HTTP without authentication")
	o.Metrics.CertPathFlag(fs)
	fs.StringVar(&o.PprofBindAddress, "pprof-bind-address", process.Off,
		"loopback `host:port` of /debug/pprof, or 0 to disable it")
	fs.StringVar(&o.OTLPEndpoint, "otlp-endpoint", "",
		"`URL` of an OpenTelemetry collector for traces over HTTP, such as http://collector:4318. "+
			"If empty, $OTEL_EXPORTER_OTLP_ENDPOINT is used; if that is empty too, traces are disabled")
	fs.Float64Var(&o.TraceSamplingRatio, "trace-sampling-ratio", 1, "`ratio` of the messages that are traced, 0 to 1")
	fs.DurationVar(&o.DrainTimeout, "drain-timeout", 25*time.Second,
		"how long a shutdown waits for requests in flight. Must be shorter than terminationGracePeriodSeconds of the pod")
	o.Endpoints.Flags(fs)
	o.DBProxy.Flags(fs)
	o.Log.Flags(fs)
	o.Gateway.Flags(fs, gatewayPrefix, process.PodNamespace(), process.Off,
		"`host:port` of the HTTP gateway in record mode and of TeamTalkReceivers, on every replica, "+
			"or 0 to disable them")
	o.flags = fs
}

// Validate returns a one-line error.
func (o *Options) Validate() error {
	switch {
	case o.LeaderElectionNamespace == "":
		return errors.New("--leader-election-namespace must not be empty")
	case o.DrainTimeout <= 0:
		return fmt.Errorf("--drain-timeout must be positive, not %s", o.DrainTimeout)
	}
	o.Gateway.HTTP.DrainTimeout = o.DrainTimeout / 2 // see components.drain
	for _, validate := range []func() error{
		o.Metrics.Validate, o.tracing(logr.Discard()).Validate, o.validatePprof, o.DBProxy.Validate, o.validateGateway,
		o.Log.Validate, o.Endpoints.Validate,
	} {
		if err := validate(); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) validatePprof() error {
	if o.PprofBindAddress == process.Off {
		return nil
	}
	host, _, err := net.SplitHostPort(o.PprofBindAddress)
	if err != nil {
		return fmt.Errorf("--pprof-bind-address must be host:port, or 0: %w", err)
	}
	if host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return fmt.Errorf("--pprof-bind-address must be a loopback address such as 127.0.0.1:6060, not %q: "+
			"profiles show memory, including keys", o.PprofBindAddress)
	}
	return nil
}

func (o *Options) validateGateway() (err error) {
	if o.servesGateway() {
		return o.Gateway.Validate()
	}
	o.flags.Visit(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, gatewayPrefix) && f.Name != gatewayPrefix+"bind-address" {
			err = errors.New("--" + f.Name + " requires --" + gatewayPrefix + "bind-address")
		}
	})
	return err
}

func (o *Options) servesGateway() bool {
	return o.Gateway.HTTP.Address != "" && o.Gateway.HTTP.Address != process.Off
}

func (o *Options) tracing(log logr.Logger) tracing.Options {
	return tracing.Options{Endpoint: o.OTLPEndpoint, Ratio: o.TraceSamplingRatio, Service: process.Name, Log: log}
}
