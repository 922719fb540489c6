// Package gateway tests the HTTP gateway with nothing faked: a real kube-apiserver
// and etcd, the operator and the gateway as processes with the rights of their
// roles, and teamtalk-dev.
package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/controlplane"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/harness"
)

// world is what all tests of this package share.
var world struct {
	plane    *controlplane.ControlPlane
	admin    client.WithWatch
	dir      string
	binary   string
	operator *harness.Process
	log      harness.Log
	teamtalk *devserver.Server
	// logs and metrics are of every gateway that was started.
	logs, metrics harness.Log
}

// secrets are used by the tests and must be in no log: texts, tokens and keys.
const (
	secretText   = "Code freeze starts Monday"
	secretAppKey = "an-app-key-of-some-length"
)

// user is who the operator is to the API server.
const user = "teamtalk-operator"

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "the operator's log:\n%s\nthe gateways' logs:\n%s", world.log.String(), world.logs.String())
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
	if world.dir, err = os.MkdirTemp("", "teamtalk-gateway-test-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(world.dir)
	if world.plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return 1, err
	}
	defer func() { _ = world.plane.Stop() }()
	if err := world.plane.InstallCRDs(filepath.Join(root, "config", "crd", "bases")); err != nil {
		return 1, err
	}
	if world.admin, err = client.NewWithWatch(world.plane.Config(), client.Options{}); err != nil {
		return 1, err
	}
	roles, err := harness.Read(filepath.Join(root, "config", "rbac", "gateway_role.yaml"))
	if err != nil {
		return 1, err
	}
	for _, o := range roles {
		if o.GetKind() == "Role" {
			o.SetNamespace("default")
		}
	}
	if err := harness.Apply(ctx, world.admin, roles...); err != nil {
		return 1, err
	}
	if err := harness.BindOperator(ctx, world.admin, user, "default"); err != nil {
		return 1, err
	}
	kubeconfig, err := kubeconfigOf(user)
	if err != nil {
		return 1, err
	}
	if world.binary, err = harness.Build(ctx, "teamtalk-operator", world.dir, buildFlags...); err != nil {
		return 1, err
	}
	if world.teamtalk, err = startTeamTalk(ctx); err != nil {
		return 1, err
	}
	defer world.teamtalk.Stop()
	if world.operator, err = harness.Start(world.binary, &world.log, append(operatorArgs(kubeconfig), "--metrics-address", "0")...); err != nil {
		return 1, err
	}
	defer func() { world.operator.Kill() }()
	if code = m.Run(); code != 0 {
		return code, nil
	}
	return code, leaks(ctx)
}

// leaks looks for what must be nowhere that somebody may look: logs, events, statuses
// and metrics.
func leaks(ctx context.Context) error {
	written, err := harness.Written(ctx, world.admin)
	if err != nil {
		return err
	}
	written["operator's log"], written["gateways' logs"], written["gateways' metrics"] = world.log.String(), world.logs.String(), world.metrics.String()
	for _, where := range []string{"operator's log", "gateways' logs", "gateways' metrics", "statuses of messages"} {
		if written[where] == "" {
			return fmt.Errorf("nothing was written to the %s", where)
		}
	}
	return harness.Leaked(written, map[string]string{
		"the AES key": devserver.DevelopmentKey, "a message's text": secretText, "an app key": secretAppKey, "a token": "eyJhbGciOi",
	})
}

func startTeamTalk(ctx context.Context) (*devserver.Server, error) {
	return devserver.Start(ctx, devserver.Options{
		DBProxyAddress: "127.0.0.1:0", RouterAddress: "127.0.0.1:0", InboxAddress: "127.0.0.1:0",
	})
}

// users makes one user at a time: who signs their certificates counts without a lock.
var users sync.Mutex

// kubeconfigOf writes a kubeconfig file for a user and returns its name.
func kubeconfigOf(user string) (string, error) {
	users.Lock()
	cfg, err := world.plane.User(user)
	users.Unlock()
	if err != nil {
		return "", err
	}
	file := filepath.Join(world.dir, "kubeconfig-"+user)
	return file, harness.WriteKubeconfig(file, cfg)
}
