// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// idleTimeout limits the wait for a manager that has not started its controllers.
const idleTimeout = 3 * time.Second

// NewScheme returns a scheme with all types that the processes use.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// NewManager returns a manager with the options, and with the runnables that both processes share. It refuses a cluster
// that is too old.
func NewManager(cfg *rest.Config, o ctrl.Options, m MetricsOptions, log logr.Logger) (manager.Manager, error) {
	err := checkVersion(cfg)
	if err != nil {
		return nil, err
	}
	if o.Scheme, err = NewScheme(); err != nil {
		return nil, err
	}
	if o.Metrics, err = m.Server(); err != nil {
		return nil, err
	}
	o.Logger = log
	// Secrets and ConfigMaps are read one by one, if they are referred to.
	o.Client.Cache = &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}}}
	mgr, err := ctrl.NewManager(cfg, o)
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	return mgr, mgr.AddHealthzCheck("ping", healthz.Ping)
}

// LiveClient returns a client without a cache, which can also watch.
func LiveClient(mgr manager.Manager) (client.WithWatch, error) {
	live, err := client.NewWithWatch(mgr.GetConfig(), client.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the API client: %w", err)
	}
	return live, nil
}

// AwaitManager returns the result of a manager whose context was cancelled. elected is closed when its controllers
// start. Before that, controller-runtime may wait for the caches forever, for example without permissions. No message
// is in progress then, so AwaitManager returns after a short time.
func AwaitManager(result <-chan error, elected <-chan struct{}, log logr.Logger) error {
	select {
	case err := <-result:
		return err
	case <-elected:
		return <-result
	case <-time.After(idleTimeout):
		log.Info("ended before all caches were filled")
		return nil
	}
}
