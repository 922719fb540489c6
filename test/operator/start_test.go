// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

// TestWithoutCRDs starts the operator before its kinds are installed, as one does:
// it says what to do, at once.
func TestWithoutCRDs(t *testing.T) {
	t.Parallel()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plane.Stop() })
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := plane.WriteKubeconfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	operator, err := framework.Start(world.Binary, &log, "--kubeconfig", kubeconfig,
		"--health-probe-bind-address", "0", "--metrics-bind-address", "0")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-operator.Ended():
	case <-time.After(framework.Timeout):
		operator.Kill()
		t.Fatal("the operator goes on without its kinds")
	}
	if operator.Err() == nil || !strings.Contains(log.String(), "kubectl apply -k config/crd") {
		t.Errorf("ended with %v and said: %s", operator.Err(), log.String())
	}
}

// TestStopWithoutRights: an operator that waits for its rights still does what it is told.
func TestStopWithoutRights(t *testing.T) {
	t.Parallel()
	kubeconfig, err := world.KubeconfigOf("nobody")
	if err != nil {
		t.Fatal(err)
	}
	var log framework.Log
	operator, err := world.StartOperatorWith(nil, &log, "--kubeconfig", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(operator.Kill)
	newTenant(t).EventuallySeen(func() string { return "it misses no right: " + log.String() }, func() bool {
		return strings.Contains(log.String(), "forbidden")
	})
	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
	defer cancel()
	if err := operator.Stop(ctx); err != nil {
		t.Errorf("%v; it said: %s", err, log.String())
	}
}
