package framework

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

// OperatorUser is who the operator of a Cluster is to its API server.
const OperatorUser = "teamtalk-operator"

// LeaseNamespace is where the operator of a Cluster has its Lease.
const LeaseNamespace = "default"

// Cluster is what the tests of a package share: a control plane with the project's
// CRDs, the operator's user with the rights of its role, the operator's binary,
// and teamtalk-dev.
type Cluster struct {
	// Root is the project's folder.
	Root string
	// Dir is for files; it goes with the cluster.
	Dir   string
	Plane *controlplane.ControlPlane
	Admin client.WithWatch
	// Binary is the operator's; it has the race detector where the tests have it.
	Binary   string
	TeamTalk *devserver.Server

	// users makes one user at a time: who signs their certificates counts without a lock.
	users sync.Mutex
	ends  []func()
}

// StartCluster starts one. Its Stop must be called.
func StartCluster(ctx context.Context) (_ *Cluster, err error) {
	c := &Cluster{}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	if err := v1alpha1.AddToScheme(scheme.Scheme); err != nil {
		return nil, err
	}
	if c.Root, err = Root(); err != nil {
		return nil, err
	}
	if c.Dir, err = os.MkdirTemp("", "teamtalk-test-"); err != nil {
		return nil, fmt.Errorf("make a folder for the tests: %w", err)
	}
	c.ends = append(c.ends, func() { _ = os.RemoveAll(c.Dir) })
	if c.Plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return nil, err
	}
	c.ends = append(c.ends, func() { _ = c.Plane.Stop() })
	if err := c.Plane.InstallCRDs(filepath.Join(c.Root, "config", "crd", "bases")); err != nil {
		return nil, err
	}
	if c.Admin, err = client.NewWithWatch(c.Plane.Config(), client.Options{}); err != nil {
		return nil, err
	}
	if err := BindOperator(ctx, c.Admin, OperatorUser, LeaseNamespace); err != nil {
		return nil, err
	}
	if c.Binary, err = Build(ctx, "teamtalk-operator", c.Dir, RaceFlags...); err != nil {
		return nil, err
	}
	if c.TeamTalk, err = StartTeamTalk(ctx); err != nil {
		return nil, err
	}
	c.ends = append(c.ends, c.TeamTalk.Stop)
	return c, nil
}

// StartTeamTalk starts teamtalk-dev in this process, with its own users, at ports
// that are free. Its Stop must be called.
func StartTeamTalk(ctx context.Context) (*devserver.Server, error) {
	const anyPort = "127.0.0.1:0"
	return devserver.Start(ctx, devserver.Options{DBProxyAddress: anyPort, RouterAddress: anyPort, InboxAddress: anyPort})
}

// KubeconfigOf writes a kubeconfig file for a user and returns its path.
func (c *Cluster) KubeconfigOf(user string) (string, error) {
	c.users.Lock()
	defer c.users.Unlock()
	cfg, err := c.Plane.User(user)
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.Dir, "kubeconfig-"+user)
	return path, WriteKubeconfig(path, cfg)
}

// OperatorArgs are what an operator of this cluster runs with: with nothing that
// listens. Flags come after these, and win.
func (c *Cluster) OperatorArgs(flags ...string) ([]string, error) {
	kubeconfig, err := c.KubeconfigOf(OperatorUser)
	return append([]string{
		"--kubeconfig", kubeconfig, "--leader-election-namespace", LeaseNamespace,
		"--health-probe-bind-address", "0", "--metrics-bind-address", "0", "--log-format", "text",
	}, flags...), err
}

// StartOperator starts an operator with OperatorArgs.
func (c *Cluster) StartOperator(log io.Writer, flags ...string) (*Process, error) {
	return c.StartOperatorWith(nil, log, flags...)
}

// StartOperatorWith is StartOperator with variables, as name=value, beside this
// process's own.
func (c *Cluster) StartOperatorWith(env []string, log io.Writer, flags ...string) (*Process, error) {
	args, err := c.OperatorArgs(flags...)
	if err != nil {
		return nil, err
	}
	return StartWith(env, c.Binary, log, args...)
}

// Stop ends all that the cluster has started; its operators are ended by whoever
// started them.
func (c *Cluster) Stop() {
	for len(c.ends) > 0 {
		last := len(c.ends) - 1
		c.ends[last]()
		c.ends = c.ends[:last]
	}
}
