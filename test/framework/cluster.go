// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sync/semaphore"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/health"
)

// OperatorUser is who the operator of a Cluster is to its API server.
const OperatorUser = "teamtalk-operator"

// LeaseNamespace is where the operator of a Cluster has its Lease.
const LeaseNamespace = "default"

// Cluster is what the tests of a package share: a control plane with the CRDs and the operator's role, its
// binary, and teamtalk-dev.
type Cluster struct {
	Cleanups
	// Root is the project's directory.
	Root string
	// Dir is for files. It is removed with the cluster.
	Dir   string
	Plane *controlplane.ControlPlane
	Admin client.WithWatch
	// Binary is the operator's. It has the race detector if the tests have it.
	Binary   string
	TeamTalk *devserver.Server
	// Leader is the operator that StartLeader started last.
	Leader *Process
	// Log is what the programs have logged.
	Log Log

	// secrets are those of the Suite.
	secrets map[string]string
	// health compares what tools make of the objects of all clusters of the suite.
	health *health.Recorder
	// users serializes the creation of users: their serial numbers are counted without a lock.
	users sync.Mutex
}

// maxClusters is how many clusters of their own tests have at once, beside the one that all share. Each takes about
// 0.7 GB with the race detector, and two cores for some seconds when it starts.
const maxClusters = 4

var clusters = semaphore.NewWeighted(maxClusters)

// Another starts a cluster with this one's binary for a single test, which may end its leader while other tests run.
// It has no operator yet. Like the shared one, it is searched for the suite's secrets at the end.
func (c *Cluster) Another(t testing.TB) *Cluster {
	t.Helper()
	another := &Cluster{Binary: c.Binary, secrets: c.secrets, health: c.health}
	if err := clusters.Acquire(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer clusters.Release(1)
		defer another.Stop()
		if t.Failed() {
			t.Logf("the programs' log:\n%s", another.Log.String())
		} else if err := Try(func() { another.checkSecrets(context.Background(), nil) }); err != nil {
			t.Error(err)
		}
	})
	if err := Try(func() { another.start(context.WithoutCancel(t.Context())) }); err != nil {
		t.Fatal(err)
	}
	return another
}

// start starts all but the operator. Stop must be called in any case.
func (c *Cluster) start(ctx context.Context) {
	c.Root = MustGet(Root())
	c.Dir = MustGet(os.MkdirTemp("", "teamtalk-test-"))
	c.Cleanup(func() { _ = os.RemoveAll(c.Dir) })
	var err error
	c.Plane, c.Admin, err = StartPlane(ctx, controlplane.Options{})
	Must(err)
	c.Cleanup(func() { _ = c.Plane.Stop() })
	if c.health == nil {
		c.health = &health.Recorder{Root: c.Root}
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.Cleanup(stop)
	c.health.Watch(watching, c.Admin)
	Must(BindOperator(ctx, c.Admin, OperatorUser, LeaseNamespace))
	if c.Binary == "" {
		c.Binary = MustGet(BuildCached(ctx, "teamtalk-operator"))
	}
	c.TeamTalk = MustGet(StartTeamTalk(ctx))
	c.Cleanup(c.TeamTalk.Stop)
}

// addToScheme adds the CRDs' types to the shared scheme once, for concurrent starts.
var addToScheme = sync.OnceValue(func() error { return v1alpha1.AddToScheme(scheme.Scheme) })

// StartEmptyPlane starts a control plane, whose Stop must be called, and returns an
// administrator's client without a rate limit.
func StartEmptyPlane(ctx context.Context, o controlplane.Options) (
	*controlplane.ControlPlane, client.WithWatch, error) {
	if err := addToScheme(); err != nil {
		return nil, nil, err
	}
	plane, err := controlplane.Start(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	config := plane.Config()
	config.QPS = -1
	admin, err := client.NewWithWatch(config, client.Options{})
	if err != nil {
		_ = plane.Stop()
	}
	return plane, admin, err
}

// StartPlane is StartEmptyPlane with the project's CRDs.
func StartPlane(ctx context.Context, o controlplane.Options) (
	*controlplane.ControlPlane, client.WithWatch, error) {
	root, err := Root()
	if err != nil {
		return nil, nil, err
	}
	plane, admin, err := StartEmptyPlane(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	if err := plane.InstallCRDs(filepath.Join(root, "config", "crd", "bases")); err != nil {
		_ = plane.Stop()
		return nil, nil, err
	}
	return plane, admin, nil
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

// OperatorArgs are the arguments of an operator that listens at no address. Later flags win.
func OperatorArgs(kubeconfig, leaseNamespace string, flags ...string) []string {
	return append([]string{
		"--kubeconfig", kubeconfig, "--leader-election-namespace", leaseNamespace,
		"--health-probe-bind-address", "0", "--metrics-bind-address", "0",
	}, flags...)
}

// OperatorArgs are the arguments of an operator of this cluster. It logs all that it can.
func (c *Cluster) OperatorArgs(flags ...string) ([]string, error) {
	kubeconfig, err := c.KubeconfigOf(OperatorUser)
	return OperatorArgs(kubeconfig, LeaseNamespace,
		append([]string{"--log-format", "text", "--log-level", "debug"}, flags...)...), err
}

// StartOperator starts an operator with OperatorArgs, which logs to Log.
func (c *Cluster) StartOperator(flags ...string) (*Process, error) {
	return c.StartOperatorWith(nil, &c.Log, flags...)
}

// StartOperatorWith is StartOperator with environment variables, as name=value, and another log.
func (c *Cluster) StartOperatorWith(env []string, log io.Writer, flags ...string) (*Process, error) {
	args, err := c.OperatorArgs(flags...)
	if err != nil {
		return nil, err
	}
	return StartWith(env, c.Binary, log, args...)
}

// StartLeader starts the operator that the tests of the cluster share.
func (c *Cluster) StartLeader(flags ...string) error {
	leader, err := c.StartOperator(flags...)
	if err != nil {
		return err
	}
	c.Leader = leader
	c.Cleanup(leader.Kill)
	return nil
}
