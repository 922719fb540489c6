package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/gateway"
)

// RunGateway serves the gateway until ctx is done, then answers the requests in flight.
func RunGateway(ctx context.Context, o GatewayOptions) error {
	return lastLine(*o.logging(), runGateway(ctx, o))
}

func runGateway(ctx context.Context, o GatewayOptions) error {
	log, err := newLogger(*o.logging())
	if err != nil {
		return err
	}
	cfg, err := restConfig(o.Kubeconfig)
	if err != nil {
		return err
	}
	mgr, err := newGatewayManager(cfg, o, log)
	if err != nil {
		return err
	}
	s := o.Gateway.NewServer(log.WithName("gateway"))
	drain, err := gateway.Wire(mgr, s, o.Gateway, gateway.Mode(o.Mode))
	if err != nil {
		return err
	}
	if _, err := s.Listen(); err != nil {
		return err
	}
	// The manager runs until the drain has ended: requests in flight need its watches.
	mgrCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	serving, unserve := context.WithCancel(ctx)
	defer unserve()
	ended := make(chan error, 1)
	go func() {
		defer unserve()
		ended <- mgr.Start(mgrCtx)
	}()
	err = s.Start(serving)
	draining, cancel := context.WithTimeout(mgrCtx, o.Gateway.HTTP.DrainTimeout)
	defer cancel()
	err = errors.Join(err, drain(draining))
	stop()
	if err := errors.Join(err, awaitEnd(ended, mgr.Elected(), log)); err != nil {
		return fmt.Errorf("the gateway has stopped: %w", err)
	}
	return nil
}

// newGatewayManager returns a manager without leader election.
func newGatewayManager(cfg *rest.Config, o GatewayOptions, log logr.Logger) (manager.Manager, error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	metrics, err := metricsServer(o.MetricsBindAddress, o.metricsSecure(), o.MetricsCertPath)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Logger: log,
		Client: client.Options{Cache: &client.CacheOptions{
			DisableFor: []client.Object{&corev1.Secret{}},
		}},
		Metrics:                metrics,
		HealthProbeBindAddress: o.HealthProbeBindAddress,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	return mgr, mgr.AddHealthzCheck("ping", healthz.Ping)
}
