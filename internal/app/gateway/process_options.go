// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
)

// ProcessOptions configure the gateway's own process. Flags describes the fields.
type ProcessOptions struct {
	Kubeconfig             string
	Mode                   Mode
	Gateway                Options
	HealthProbeBindAddress string
	Metrics                process.MetricsOptions
	Log                    process.LogOptions
}

// Flags adds the options to a flag set.
func (o *ProcessOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", process.KubeconfigUsage)
	fs.StringVar((*string)(&o.Mode), "mode", string(ModeRecord), "`mode` of sending: record (each message becomes "+
		"a TeamTalkMessage, which the operator delivers) or direct (through db_proxy, without a TeamTalkMessage)")
	o.Gateway.Flags(fs, "", process.PodNamespace(), "127.0.0.1:8400", "`host:port` to listen at")
	fs.DurationVar(&o.Gateway.HTTP.DrainTimeout, "drain-timeout", 25*time.Second,
		"how long a shutdown waits for requests in flight; must be shorter than terminationGracePeriodSeconds of the pod")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", ":8081",
		"`host:port` of /healthz and /readyz, which --bind-address serves too, or 0 to disable it")
	fs.StringVar(&o.Metrics.BindAddress, "metrics-bind-address", process.Off,
		"`host:port` of /metrics, or 0 to disable it. "+
			"Unless it is on loopback, it serves TLS to bearer tokens that may get /metrics")
	o.Metrics.CertPathFlag(fs)
	o.Log.Flags(fs)
}

// Validate returns an error of one line that names the flag to change.
func (o *ProcessOptions) Validate() error {
	switch {
	case o.Mode != ModeRecord && o.Mode != ModeDirect:
		return fmt.Errorf("--mode must be %s or %s, not %q", ModeRecord, ModeDirect, o.Mode)
	case o.Metrics.CertPath != "" && o.Metrics.BindAddress == process.Off:
		return errors.New("--metrics-cert-path does nothing without --metrics-bind-address")
	}
	// Plain HTTP only on loopback, and without a certificate.
	o.Metrics.Secure = o.Metrics.CertPath != "" || !httpserver.IsLoopback(o.Metrics.BindAddress)
	for _, validate := range []func() error{o.Gateway.Validate, o.Metrics.Validate, o.Log.Validate} {
		if err := validate(); err != nil {
			return err
		}
	}
	return nil
}
