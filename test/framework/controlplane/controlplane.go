// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/assets"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/gobuild"
)

const (
	// startTimeout bounds each program's start: ten times what an idle machine needs, for a busy CI.
	startTimeout = 60 * time.Second
	// stopTimeout bounds the end of each program.
	stopTimeout = 20 * time.Second
	// startAttempts is the number of attempts if another process takes a free port.
	startAttempts = 3
)

// Options configure Start. The zero value works.
type Options struct {
	// Log logs progress, at least every ten seconds. Nil writes to standard error.
	Log assets.Logf
	// Output receives the logs of kube-apiserver and etcd, one write at a time. Nil drops
	// them; Start's error has the line that explains a failed start in either case.
	Output io.Writer
	// APIServerFlags are flags of kube-apiserver by name without dashes, such as
	// "audit-log-path". They replace those of envtest.
	APIServerFlags map[string][]string
}

// ControlPlane is a running kube-apiserver and etcd. They end with Stop or this process, even if killed.
type ControlPlane struct {
	plane      *envtest.ControlPlane
	guard      *guard
	dir        string
	config     *rest.Config
	kubeconfig []byte
	// users guards the certificate authority, which is not safe for concurrent use.
	users sync.Mutex
}

// Start runs both on free loopback ports, with data in a temporary folder, until the API serves the default
// namespace. RBAC and the default admission plugins are enabled, except ServiceAccount, which needs a
// controller. ctx interrupts Start only.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	o.Log = assets.LogTo(o.Log)
	programs, err := assets.ControlPlane(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		c, err := start(ctx, programs, o)
		if err == nil {
			return c, nil
		}
		// envtest picks ports before the programs bind them: another process may be first.
		if attempt == startAttempts || !errors.Is(err, errPortTaken) {
			return nil, err
		}
		o.Log("%v; trying other ports", err)
	}
}

func start(ctx context.Context, programs string, o Options) (_ *ControlPlane, err error) {
	dir, err := os.MkdirTemp("", "controlplane-")
	if err != nil {
		return nil, fmt.Errorf("create the control plane's data folder: %w", err)
	}
	guard, err := newGuard(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	c := &ControlPlane{guard: guard, dir: dir}
	out := &syncWriter{w: o.Output}
	apiLog, etcdLog := &Tail{Out: out}, &Tail{Out: out}
	// Closing the guard kills the programs, which envtest's start notices.
	disarm := context.AfterFunc(ctx, guard.close)
	defer func() {
		if disarmed := disarm(); disarmed && err == nil {
			return
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("start the control plane: %w", context.Cause(ctx))
		}
		_ = c.Stop() // the first error explains more
	}()

	if c.plane, err = configure(guard, dir, programs, o); err != nil {
		return nil, err
	}
	c.plane.APIServer.Out, c.plane.APIServer.Err = apiLog, apiLog
	c.plane.Etcd.Out, c.plane.Etcd.Err = etcdLog, etcdLog
	begin := time.Now()
	defer gobuild.Report(o.Log, func() string {
		return fmt.Sprintf("starting kube-apiserver and etcd: %s", gobuild.Since(begin))
	})()
	if err = c.plane.Start(); err != nil {
		return nil, fmt.Errorf("start the control plane: %w", explain(err, etcdLog, apiLog))
	}
	user, err := c.plane.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, fastConfig())
	if err != nil {
		return nil, fmt.Errorf("add the control plane's admin: %w", err)
	}
	c.config = user.Config()
	if c.kubeconfig, err = user.KubeConfig(); err != nil {
		return nil, fmt.Errorf("write the admin's kubeconfig: %w", err)
	}
	if err = waitForDefaultNamespace(ctx, c.config); err != nil {
		return nil, fmt.Errorf("wait for the namespace default: %w", explain(err, etcdLog, apiLog))
	}
	return c, nil
}

// configure sets every path that envtest would otherwise take from environment variables.
func configure(g *guard, dir, programs string, o Options) (*envtest.ControlPlane, error) {
	api := &envtest.APIServer{
		CertDir:      filepath.Join(dir, "kube-apiserver"),
		StartTimeout: startTimeout,
		StopTimeout:  stopTimeout,
	}
	etcd := &envtest.Etcd{
		DataDir:      filepath.Join(dir, "etcd"),
		StartTimeout: startTimeout,
		StopTimeout:  stopTimeout,
	}
	for _, d := range []string{api.CertDir, etcd.DataDir} {
		if err := os.Mkdir(d, 0o700); err != nil { // the mode that etcd requires
			return nil, fmt.Errorf("create the control plane's data folder: %w", err)
		}
	}
	var err error
	if api.Path, err = g.wrap(filepath.Join(programs, assets.APIServer)); err != nil {
		return nil, err
	}
	if etcd.Path, err = g.wrap(filepath.Join(programs, assets.Etcd)); err != nil {
		return nil, err
	}
	for name, values := range o.APIServerFlags {
		api.Configure().Set(strings.TrimLeft(name, "-"), values...)
	}
	return &envtest.ControlPlane{APIServer: api, Etcd: etcd, KubectlPath: filepath.Join(programs, "kubectl")}, nil
}

// Stop ends both programs and removes their data.
func (c *ControlPlane) Stop() error {
	// A SIGTERM would make kube-apiserver wait a minute for open watches. There is nothing to save.
	c.guard.close()
	var err error
	if c.plane != nil {
		err = c.plane.Stop()
	}
	if removeErr := os.RemoveAll(c.dir); removeErr != nil {
		err = errors.Join(err, removeErr)
	}
	if err != nil {
		return fmt.Errorf("stop the control plane: %w", err)
	}
	return nil
}

// Config returns a copy of the admin's client configuration.
func (c *ControlPlane) Config() *rest.Config { return rest.CopyConfig(c.config) }

// EtcdURL returns the URL of etcd, which needs no authentication.
func (c *ControlPlane) EtcdURL() string { return c.plane.Etcd.URL.String() }

// WriteKubeconfig writes the admin's kubeconfig, with embedded certificates, to path with mode 0600.
func (c *ControlPlane) WriteKubeconfig(path string) error {
	if err := os.WriteFile(path, c.kubeconfig, 0o600); err != nil {
		return fmt.Errorf("write the admin's kubeconfig: %w", err)
	}
	return nil
}

// User adds a user and returns its client configuration. RBAC grants it nothing until a test binds a role.
func (c *ControlPlane) User(name string, groups ...string) (*rest.Config, error) {
	c.users.Lock()
	defer c.users.Unlock()
	user, err := c.plane.AddUser(envtest.User{Name: name, Groups: groups}, fastConfig())
	if err != nil {
		return nil, fmt.Errorf("add the user %s: %w", name, err)
	}
	return user.Config(), nil
}

// InstallCRDs installs the CustomResourceDefinitions of dir, without its subfolders, and
// returns once the API serves them.
func (c *ControlPlane) InstallCRDs(dir string) error {
	crds, err := envtest.InstallCRDs(c.Config(), envtest.CRDInstallOptions{
		Paths:              []string{dir},
		ErrorIfPathMissing: true,
		MaxTime:            startTimeout,
		PollInterval:       50 * time.Millisecond,
	})
	if err != nil {
		return fmt.Errorf("install the CRDs in %s: %w", dir, err)
	}
	if len(crds) == 0 {
		return fmt.Errorf("install the CRDs in %s: it has no file with a CustomResourceDefinition", dir)
	}
	return nil
}

// fastConfig raises client-go's rate limits as envtest does.
func fastConfig() *rest.Config { return &rest.Config{QPS: 1000, Burst: 2000} }

func waitForDefaultNamespace(ctx context.Context, config *rest.Config) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c, err := client.New(config, client.Options{})
	if err != nil {
		return err
	}
	var last error
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		last = c.Get(ctx, types.NamespacedName{Name: "default"}, &corev1.Namespace{})
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}
