// Package operator tests the whole way with nothing faked: a real kube-apiserver
// and etcd, the operator's binary as a process with the rights of its role, and
// teamtalk-dev.
package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
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

// leaks looks for the key, and for a text that was sent, where the operator writes.
func leaks(ctx context.Context) error {
	events, messages := &eventsv1.EventList{}, &v1alpha1.TeamTalkMessageList{}
	if err := errors.Join(world.admin.List(ctx, events), world.admin.List(ctx, messages)); err != nil {
		return err
	}
	written := map[string]string{"log": world.log.String()}
	for _, e := range events.Items {
		written["events"] += e.Note
	}
	for _, m := range messages.Items {
		written["statuses"] += fmt.Sprintf("%+v", m.Status)
	}
	for where, text := range written {
		for what, secret := range map[string]string{"the key": devserver.DevelopmentKey, "a message's text": secretText} {
			if strings.Contains(text, secret) {
				return fmt.Errorf("%s is in the operator's %s", what, where)
			}
		}
	}
	return nil
}

// secretText is sent by some test, and must not be in any log.
const secretText = "Code freeze starts Monday"

func startTeamTalk(ctx context.Context) (*devserver.Server, error) {
	return devserver.Start(ctx, devserver.Options{
		DBProxyAddress: "127.0.0.1:0", RouterAddress: "127.0.0.1:0", InboxAddress: "127.0.0.1:0",
	})
}

func startOperator() (*harness.Process, error) {
	return harness.Start(world.binary, &world.log, "--kubeconfig", world.kubeconfig,
		"--lease-namespace", "default", "--health-address", "0", "--metrics-address", "0", "--log-format", "text")
}
