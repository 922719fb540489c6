// Package operator tests the whole way with nothing faked: a real kube-apiserver
// and etcd, the operator's binary as a process with the rights of its role, and
// teamtalk-dev.
package operator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/controlplane"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/harness"
)

// world is what all tests of this package share; each has a namespace and a
// TeamTalkServer of its own.
var world struct {
	admin      client.WithWatch
	binary     string
	kubeconfig string
	operator   *harness.Process
	log        harness.Log
	teamtalk   *devserver.Server
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "the operator's log:\n%s", world.log.String())
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if err := v1alpha1.AddToScheme(scheme.Scheme); err != nil {
		return 1, err
	}
	root, err := harness.Root()
	if err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "teamtalk-operator-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	plane, err := controlplane.Start(ctx, controlplane.Options{})
	if err != nil {
		return 1, err
	}
	defer func() { _ = plane.Stop() }()
	if err := plane.InstallCRDs(filepath.Join(root, "config", "crd", "bases")); err != nil {
		return 1, err
	}
	if world.admin, err = client.NewWithWatch(plane.Config(), client.Options{}); err != nil {
		return 1, err
	}
	if err := harness.BindOperator(ctx, world.admin, user, "default"); err != nil {
		return 1, err
	}
	cfg, err := plane.User(user)
	if err != nil {
		return 1, err
	}
	world.kubeconfig = filepath.Join(dir, "kubeconfig")
	if err := harness.WriteKubeconfig(world.kubeconfig, cfg); err != nil {
		return 1, err
	}
	if world.binary, err = harness.Build(ctx, "teamtalk-operator", dir, buildFlags...); err != nil {
		return 1, err
	}
	if world.teamtalk, err = startTeamTalk(ctx); err != nil {
		return 1, err
	}
	defer world.teamtalk.Stop()
	if world.operator, err = startOperator(); err != nil {
		return 1, err
	}
	defer func() { world.operator.Kill() }()
	if code = m.Run(); code != 0 {
		return code, nil
	}
	if err := leaks(ctx); err != nil {
		return 1, err
	}
	return 0, nil
}

// user is who the operator is to the API server.
const user = "teamtalk-operator"

// secretText is sent by some test, and must not be in anything that the operator writes.
const secretText = "Code freeze starts Monday"

func startTeamTalk(ctx context.Context) (*devserver.Server, error) {
	return devserver.Start(ctx, devserver.Options{
		DBProxyAddress: "127.0.0.1:0", RouterAddress: "127.0.0.1:0", InboxAddress: "127.0.0.1:0",
	})
}

func startOperator() (*harness.Process, error) {
	return harness.Start(world.binary, &world.log, "--kubeconfig", world.kubeconfig,
		"--lease-namespace", "default", "--health-address", "0", "--metrics-address", "0", "--log-format", "text",
		"--log-level", "debug") // leaks looks at all that may be logged
}
