// Package controlplane runs a real Kubernetes control plane, kube-apiserver and
// etcd, on this machine's loopback, for tests and the demo. Whoever has Go has
// what it needs: Assets finds the two programs, downloads them, or builds them
// from hack/controlplane. Nothing in the operator's binary imports it. It is for
// Unix systems, like envtest, on which it is built.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/gobuild"
)

const (
	// startTimeout bounds the start of each of the two programs. Ten times what
	// an idle machine takes: CI runs packages' tests side by side.
	startTimeout = 60 * time.Second
	// stopTimeout bounds the end of each.
	stopTimeout = 20 * time.Second
	// startTries is how often a start is tried when a port that was free is taken.
	startTries = 3
)

// Options say how a control plane is found and run. The zero value works.
type Options struct {
	// Log takes one line of progress, without a newline. While something takes
	// long it is called at least every ten seconds. Nil writes to standard error.
	Log func(format string, args ...any)
	// Output takes the logs of kube-apiserver and etcd, one write at a time. Nil drops
	// them; the line that explains a failed start is in Start's error either way.
	Output io.Writer
	// APIServerFlags are flags for kube-apiserver: names without dashes, such as
	// "audit-log-path", and their values. One that envtest sets too replaces it.
	APIServerFlags map[string][]string
}

func (o Options) log() func(format string, args ...any) {
	if o.Log != nil {
		return o.Log
	}
	return func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
}

// ControlPlane is a running kube-apiserver and etcd. They end with Stop, or when
// the process that started them ends in whatever way.
type ControlPlane struct {
	plane      *envtest.ControlPlane
	guard      *guard
	dir        string
	config     *rest.Config
	kubeconfig []byte
}

// Start finds kube-apiserver and etcd with Assets and runs them on free loopback
// ports with their data in a temporary folder. It returns once the API serves
// and the default namespace exists. RBAC is on, and so are the default admission
// plugins except ServiceAccount, which needs a controller that does not run here.
// Ending ctx interrupts a start, not a control plane that runs.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	assets, err := Assets(ctx, o)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		c, err := start(ctx, assets, o)
		if err == nil {
			return c, nil
		}
		// Ports are picked before the programs bind them, so another process may come first.
		if try == startTries || !errors.Is(err, errPortTaken) {
			return nil, err
		}
		o.log()("%v; trying other ports", err)
	}
}

func start(ctx context.Context, assets string, o Options) (_ *ControlPlane, err error) {
	dir, err := os.MkdirTemp("", "controlplane-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the control plane's data: %w", err)
	}
	guard, err := newGuard(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	c := &ControlPlane{guard: guard, dir: dir}
	out := &shared{w: o.Output}
	apiLog, etcdLog := &tail{out: out}, &tail{out: out}
	// Closing the guard kills the programs, which envtest's start notices.
	notInterrupted := context.AfterFunc(ctx, guard.close)
	defer func() {
		if letRun := notInterrupted(); letRun && err == nil {
			return
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("start the control plane: %w", context.Cause(ctx))
		}
		_ = c.Stop() // the reason why it did not start is the one to report
	}()

	if c.plane, err = configure(guard, dir, assets, o); err != nil {
		return nil, err
	}
	c.plane.APIServer.Out, c.plane.APIServer.Err = apiLog, apiLog
	c.plane.Etcd.Out, c.plane.Etcd.Err = etcdLog, etcdLog
	began := time.Now()
	stopReport := gobuild.Report(o.log(), func() string {
		return fmt.Sprintf("starting kube-apiserver and etcd: %s", gobuild.Since(began))
	})
	defer stopReport()
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

// configure describes both programs to envtest, all of whose lookups by
// environment variable are settled here so that what runs is what was found.
func configure(g *guard, dir, assets string, o Options) (*envtest.ControlPlane, error) {
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
		if err := os.Mkdir(d, 0o700); err != nil { // 0700 is what etcd asks of its data folder
			return nil, fmt.Errorf("make the control plane's data folder: %w", err)
		}
	}
	var err error
	if api.Path, err = g.wrap(filepath.Join(assets, apiServerName)); err != nil {
		return nil, err
	}
	if etcd.Path, err = g.wrap(filepath.Join(assets, etcdName)); err != nil {
		return nil, err
	}
	for name, values := range o.APIServerFlags {
		api.Configure().Set(strings.TrimLeft(name, "-"), values...)
	}
	return &envtest.ControlPlane{APIServer: api, Etcd: etcd, KubectlPath: filepath.Join(assets, "kubectl")}, nil
}

// Stop ends both programs and removes their data.
func (c *ControlPlane) Stop() error {
	// First, as kube-apiserver would wait a minute for the watches that clients have
	// open; there is nothing to save, and its audit log is written at each request.
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

// Config is the admin's client configuration, a copy of its own at each call.
func (c *ControlPlane) Config() *rest.Config { return rest.CopyConfig(c.config) }

// EtcdURL is where etcd answers, without a password, on loopback.
func (c *ControlPlane) EtcdURL() string { return c.plane.Etcd.URL.String() }

// Kubeconfig is the admin's kubeconfig, YAML with the certificates inside.
func (c *ControlPlane) Kubeconfig() []byte { return append([]byte(nil), c.kubeconfig...) }

// WriteKubeconfig writes Kubeconfig to path, readable by its owner alone.
func (c *ControlPlane) WriteKubeconfig(path string) error {
	if err := os.WriteFile(path, c.kubeconfig, 0o600); err != nil {
		return fmt.Errorf("write the admin's kubeconfig: %w", err)
	}
	return nil
}

// User adds a user and returns its client configuration. It may do what RBAC
// grants to its name and groups: nothing until a test binds a role.
func (c *ControlPlane) User(name string, groups ...string) (*rest.Config, error) {
	user, err := c.plane.AddUser(envtest.User{Name: name, Groups: groups}, fastConfig())
	if err != nil {
		return nil, fmt.Errorf("add the user %s: %w", name, err)
	}
	return user.Config(), nil
}

// InstallCRDs installs every CustomResourceDefinition in the YAML and JSON files
// of dir, not of its subfolders, and returns once the API serves them.
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

// fastConfig lifts client-go's rate limits, as envtest does: a test's API server has no one to spare.
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
