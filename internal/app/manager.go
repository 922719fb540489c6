// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkmessage"
	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// Run runs the operator until ctx is done. Then it drains: it sends nothing new, records what is in
// flight, and marks and releases the Lease.
func Run(ctx context.Context, o Options) error {
	return o.Log.LogFatal(run(ctx, o, o.Log.NewLogger()))
}

func run(ctx context.Context, o Options, log logr.Logger) error {
	cfg, err := process.RESTConfig(o.Kubeconfig)
	if err != nil {
		return err
	}
	lease := types.NamespacedName{Namespace: o.LeaderElectionNamespace, Name: process.Name}
	gate := leadership.NewFencingGate(leadership.RenewDeadline)
	lock, err := leadership.NewLock(cfg, lease, gate)
	if err != nil {
		return err
	}
	// The manager outlives ctx by the drain: recording needs its controllers.
	mgrCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var parts *components
	mgr, err := newManager(cfg, o, lock, log)
	if err == nil {
		parts, err = wire(mgrCtx, mgr, o, lease, lock.Identity(), gate)
	}
	switch {
	case meta.IsNoMatchError(err):
		return fmt.Errorf("the cluster at %s has no CRDs of %s: install them with \"kubectl apply -k config/crd\"",
			cfg.Host, v1alpha1.GroupVersion)
	case err != nil:
		return err
	}

	result := make(chan error, 1)
	go func() { result <- mgr.Start(mgrCtx) }()
	select {
	case err = <-result:
	case <-ctx.Done():
		parts.drain(mgr.Elected(), o.DrainTimeout, log)
		stop()
		err = process.AwaitManager(result, mgr.Elected(), log)
	}
	if err != nil {
		return fmt.Errorf("the operator has stopped: %w", err)
	}
	return nil
}

func newManager(cfg *rest.Config, o Options, lock resourcelock.Interface, log logr.Logger) (manager.Manager, error) {
	return process.NewManager(cfg, ctrl.Options{
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{&v1alpha1.TeamTalkMessage{}: {
				Field: teamtalkmessage.Unfinished, Transform: teamtalkmessage.StripManagedFields,
			}},
		},
		HealthProbeBindAddress:              o.HealthProbeBindAddress,
		PprofBindAddress:                    o.PprofBindAddress,
		LeaderElection:                      true,
		LeaderElectionResourceLockInterface: lock,
		LeaderElectionReleaseOnCancel:       true,
		LeaseDuration:                       ptr.To(leadership.LeaseDuration),
		RenewDeadline:                       ptr.To(leadership.RenewDeadline),
		RetryPeriod:                         ptr.To(leadership.RetryPeriod),
	}, o.Metrics, log)
}
