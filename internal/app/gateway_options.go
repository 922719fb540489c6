package app

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/gateway"
)

// GatewayOptions configure the gateway's own process.
type GatewayOptions struct {
	Kubeconfig string
	Mode       gateway.Mode
	Gateway    gateway.Options
	// HealthProbeBindAddress and MetricsBindAddress may be "0", which turns them off.
	HealthProbeBindAddress, MetricsBindAddress string
	// MetricsCertPath holds tls.crt and tls.key for /metrics. If empty, /metrics beyond loopback has a
	// self-signed certificate.
	MetricsCertPath     string
	LogFormat, LogLevel string
}

// Flags adds the options to a flag set, with their defaults.
func (o *GatewayOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "",
		"kubeconfig `file`; if empty, $KUBECONFIG, the pod's service account, or ~/.kube/config")
	fs.StringVar((*string)(&o.Mode), "mode", string(gateway.ModeRecord), "`mode` of sending: record (each message becomes "+
		"a TeamTalkMessage, which the operator delivers) or direct (through db_proxy, without a record)")
	o.Gateway.Flags(fs, "", podNamespace(), "127.0.0.1:8400", "`host:port` to listen at")
	fs.DurationVar(&o.Gateway.HTTP.DrainTimeout, "drain-timeout", 25*time.Second,
		"how long a shutdown waits for requests in flight; must be below the pod's terminationGracePeriodSeconds")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", ":8081",
		"`host:port` of /healthz and /readyz, which --bind-address serves as well; 0: off")
	fs.StringVar(&o.MetricsBindAddress, "metrics-bind-address", off, "`host:port` of /metrics; 0: off. "+
		"Beyond loopback it is served with TLS, to users who may get the URL /metrics")
	fs.StringVar(&o.MetricsCertPath, "metrics-cert-path", "", "`directory` with tls.crt and tls.key for /metrics, loaded "+
		"again when they change; with it, loopback uses TLS as well; if empty, a self-signed certificate is made")
	fs.StringVar(&o.LogFormat, "log-format", "json", "`format` of the log: json or text")
	fs.StringVar(&o.LogLevel, "log-level", "info", "`level` of the log: debug, info or error")
}

// Validate returns an error of one line that names the flag to change.
func (o *GatewayOptions) Validate() error {
	if o.Mode != gateway.ModeRecord && o.Mode != gateway.ModeDirect {
		return fmt.Errorf("--mode must be %s or %s, not %q", gateway.ModeRecord, gateway.ModeDirect, o.Mode)
	}
	if err := o.Gateway.Validate(); err != nil {
		return err
	}
	if o.MetricsCertPath != "" {
		if o.MetricsBindAddress == off {
			return errors.New("--metrics-cert-path does nothing without --metrics-bind-address")
		}
		if err := checkCertDir(o.MetricsCertPath); err != nil {
			return err
		}
	}
	return o.logging().validateLog()
}

// metricsSecure reports whether /metrics is served with TLS to authorized users: always beyond loopback, and on
// loopback if there is a certificate.
func (o *GatewayOptions) metricsSecure() bool {
	host, _, err := net.SplitHostPort(o.MetricsBindAddress)
	ip := net.ParseIP(host)
	return o.MetricsCertPath != "" || err != nil || ip == nil || !ip.IsLoopback()
}

// logging returns the options of the log.
func (o *GatewayOptions) logging() *Options {
	return &Options{LogFormat: o.LogFormat, LogLevel: o.LogLevel}
}

// gatewayPrefix is the prefix of the gateway's flags in the operator's process.
const gatewayPrefix = "gateway-"

// gatewayFlags adds the options of the gateway in the operator's process.
func (o *Options) gatewayFlags(fs *pflag.FlagSet) {
	o.Gateway.Flags(fs, gatewayPrefix, podNamespace(), off,
		"`host:port` of the HTTP gateway in record mode and of TeamTalkReceivers, which every replica serves; 0: off")
	o.flags = fs
}

// validateGateway checks the options of the gateway in the operator's process.
func (o *Options) validateGateway() error {
	if o.servesGateway() {
		o.Gateway.HTTP.DrainTimeout = o.DrainTimeout / 2 // see parts.drain
		return o.Gateway.Validate()
	}
	if o.flags == nil {
		return nil
	}
	var err error
	o.flags.Visit(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, gatewayPrefix) && f.Name != gatewayPrefix+"bind-address" {
			err = errors.New("--" + f.Name + " does nothing without --" + gatewayPrefix + "bind-address")
		}
	})
	return err
}

func (o *Options) servesGateway() bool {
	return o.Gateway.HTTP.Address != "" && o.Gateway.HTTP.Address != off
}
