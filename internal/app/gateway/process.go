// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
)

// Run runs the gateway until ctx is done. Then it answers the requests in flight.
func Run(ctx context.Context, o ProcessOptions) error {
	return o.Log.LogFatal(run(ctx, o, o.Log.NewLogger()))
}

func run(ctx context.Context, o ProcessOptions, log logr.Logger) error {
	cfg, err := process.RESTConfig(o.Kubeconfig)
	if err != nil {
		return err
	}
	mgr, err := process.NewManager(cfg, ctrl.Options{HealthProbeBindAddress: o.HealthProbeBindAddress}, o.Metrics, log)
	if err != nil {
		return err
	}
	s := o.Gateway.NewServer(log.WithName("gateway"))
	drain, err := Wire(mgr, s, o.Gateway, o.Mode)
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
