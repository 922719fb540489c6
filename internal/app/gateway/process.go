// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
)

// ProcessOptions configure the gateway's own process. Flags describes the fields.
type ProcessOptions struct {
	Kubeconfig             string
	Mode                   Mode
	Gateway                Options
	Endpoints              process.EndpointOptions
	DBProxy                process.DBProxyOptions
	HealthProbeBindAddress string
	Metrics                process.MetricsOptions
	Log                    process.LogOptions
}

// Flags adds the options to a flag set.
func (o *ProcessOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", process.KubeconfigUsage)
	fs.StringVar((*string)(&o.Mode), "mode", string(ModeRecord), "`mode` of sending: record (each message becomes "+
		"a TeamTalkMessage, which the operator delivers) or direct (through db_proxy, without a TeamTalkMessage)")
	o.Gateway.Flags(fs, "", process.PodNamespace(), "127.0.0.1:8400", "`host:port` to listen on")
	fs.DurationVar(&o.Gateway.HTTP.DrainTimeout, "drain-timeout", 25*time.Second,
		"how long a shutdown waits for requests in flight. Must be shorter than terminationGracePeriodSeconds of the pod")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", ":8081",
		"`host:port` of /healthz and /readyz, or 0 to disable it. --bind-address serves both too")
	fs.StringVar(&o.Metrics.BindAddress, "metrics-bind-address", process.Off,
		"`host:port` of /metrics, or 0 to disable it. "+
			"Unless it is on loopback, it serves TLS to bearer tokens that may get /metrics")
	o.Metrics.CertPathFlag(fs)
	o.Endpoints.Flags(fs)
	o.DBProxy.Flags(fs)
	o.Log.Flags(fs)
}

// Validate returns an error of one line that names the flag to change.
func (o *ProcessOptions) Validate() error {
	switch {
	case o.Mode != ModeRecord && o.Mode != ModeDirect:
		return fmt.Errorf("--mode must be %s or %s, not %q", ModeRecord, ModeDirect, o.Mode)
	case o.Mode != ModeDirect && len(o.Endpoints.Allowed) > 0:
		return fmt.Errorf("--allowed-endpoints requires --mode=%s: in other modes the operator connects", ModeDirect)
	case o.Mode != ModeDirect && o.DBProxy.Given() != "":
		return fmt.Errorf("--%s requires --mode=%s: in other modes the operator sends", o.DBProxy.Given(), ModeDirect)
	case o.Metrics.CertPath != "" && o.Metrics.BindAddress == process.Off:
		return errors.New("--metrics-cert-path requires --metrics-bind-address")
	}
	// Plain HTTP only on loopback, and without a certificate.
	o.Metrics.Secure = o.Metrics.CertPath != "" || !httpserver.IsLoopback(o.Metrics.BindAddress)
	for _, validate := range []func() error{
		o.Gateway.Validate, o.Metrics.Validate, o.Endpoints.Validate, o.DBProxy.Validate, o.Log.Validate,
	} {
		if err := validate(); err != nil {
			return err
		}
	}
	return nil
}

// Run runs the gateway until ctx is done. Then it answers the requests in flight.
func Run(ctx context.Context, o ProcessOptions) error {
	return o.Log.LogFatal(run(ctx, o, o.Log.NewLogger()))
}

func run(ctx context.Context, o ProcessOptions, log logr.Logger) error {
	cfg, err := process.RESTConfig(o.Kubeconfig)
	if err != nil {
		return err
	}
	mgr, err := process.NewManager(cfg, ctrl.Options{
		Cache:                  cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		HealthProbeBindAddress: o.HealthProbeBindAddress,
	}, o.Metrics, log)
	if err != nil {
		return err
	}
	o.Gateway.Endpoints = o.Endpoints.Endpoints()
	s := o.Gateway.NewServer(log.WithName("gateway"))
	drain, err := Wire(mgr, s, o.Gateway, o.Mode, o.DBProxy.Limits())
	if err != nil {
		return err
	}
	if err := s.Listen(); err != nil {
		return err
	}
	// The manager outlives ctx by the drain: requests in flight need its watches.
	mgrCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	result := make(chan error, 1)
	go func() {
		defer stopServing()
		result <- mgr.Start(mgrCtx)
	}()
	err = s.Start(serving)
	draining, cancel := context.WithTimeout(mgrCtx, o.Gateway.HTTP.DrainTimeout)
	defer cancel()
	err = errors.Join(err, drain(draining))
	stop()
	if err := errors.Join(err, process.AwaitManager(result, mgr.Elected(), log)); err != nil {
		return fmt.Errorf("the gateway has stopped: %w", err)
	}
	return nil
}
