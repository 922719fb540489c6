package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/controllers/teamtalkmessage"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/pagedlist"
)

// Name of the operator: in its Lease, its events and its API requests.
const Name = "teamtalk-operator"

// NewScheme returns a scheme with every kind that the operator touches.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// Run runs the operator until ctx is done, then shuts it down: nothing new is
// sent, what is in flight is answered and recorded, the Lease is marked and
// released. It returns an error for what keeps it from running.
func Run(ctx context.Context, o Options) error { return lastLine(o, run(ctx, o)) }

func run(ctx context.Context, o Options) error {
	log, err := newLogger(o)
	if err != nil {
		return err
	}
	cfg, err := restConfig(o.Kubeconfig)
	if err != nil {
		return err
	}
	lease := types.NamespacedName{Namespace: o.LeaderElectionNamespace, Name: Name}
	gate := leadership.NewFencingGate(leadership.RenewDeadline)
	lock, err := leadership.NewLock(cfg, lease, gate)
	if err != nil {
		return err
	}
	mgr, err := newManager(cfg, o, lock, log)
	if err != nil {
		return err
	}
	// The manager outlives ctx by the drain: recording needs its controllers.
	mgrCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	parts, err := wire(mgrCtx, mgr, o, lease, lock.Identity(), gate)
	switch {
	case meta.IsNoMatchError(err):
		return fmt.Errorf("the cluster at %s does not know the kinds of %s: install them with \"kubectl apply -k config/crd\"",
			cfg.Host, v1alpha1.GroupVersion)
	case err != nil:
		return err
	}

	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(mgrCtx) }()
	select {
	case err := <-ended:
		return runError(err)
	case <-ctx.Done():
	}
	parts.drain(mgr.Elected(), o.DrainTimeout, log)
	stop()
	return runError(awaitEnd(ended, mgr.Elected(), log))
}

func runError(err error) error {
	if err != nil {
		return fmt.Errorf("the operator has stopped: %w", err)
	}
	return nil
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	var cfg *rest.Config
	var err error
	if kubeconfig != "" {
		cfg, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	} else {
		cfg, err = config.GetConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("no cluster to work in: set --kubeconfig or KUBECONFIG, or run in a pod: %w", err)
	}
	cfg.UserAgent = Name
	// A burst of messages is one status patch each; the API server's own
	// priority and fairness is the limit.
	cfg.QPS = -1
	return cfg, nil
}

func newManager(cfg *rest.Config, o Options, lock resourcelock.Interface, log logr.Logger) (manager.Manager, error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	messages, err := pagedlist.NewReader(cfg, scheme, &v1alpha1.TeamTalkMessage{}, "teamtalkmessages")
	if err != nil {
		return nil, err
	}
	serving, err := metricsServer(o.MetricsBindAddress, o.MetricsSecure, o.MetricsCertPath)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme,
		Logger: log,
		// For all kinds: an entry of its own would ask for the kind before it is installed.
		Cache: cache.Options{DefaultTransform: teamtalkmessage.Slim, NewInformer: pagedlist.NewInformer(teamtalkmessage.Slim, messages)},
		Client: client.Options{Cache: &client.CacheOptions{
			// Only those that are referred to are read, when they are needed.
			DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}},
		}},
		Metrics:                             serving,
		HealthProbeBindAddress:              o.HealthProbeBindAddress,
		PprofBindAddress:                    o.PprofBindAddress,
		LeaderElection:                      true,
		LeaderElectionResourceLockInterface: lock,
		LeaderElectionReleaseOnCancel:       true,
		LeaseDuration:                       ptr.To(leadership.LeaseDuration),
		RenewDeadline:                       ptr.To(leadership.RenewDeadline),
		RetryPeriod:                         ptr.To(leadership.RetryPeriod),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	return mgr, nil
}
