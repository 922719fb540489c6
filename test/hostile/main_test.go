// SPDX-License-Identifier: Apache-2.0

// Package hostile tests that no server, caller or tenant that means harm stops others or takes the memory of all:
// a real kube-apiserver and etcd, the programs as processes with the rights of their roles and without the race
// detector, teamtalk-dev, and servers that do what no TeamTalk does.
package hostile

import (
	"context"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// world is what all tests of this package share. Each test has an operator and tenants of its own. The tests do not
// run in parallel: they measure the operator.
var world *framework.Cluster

func TestMain(m *testing.M) {
	framework.Suite{
		Setup: func(ctx context.Context, c *framework.Cluster) (err error) {
			world = c
			c.Binary, err = framework.BuildPlain(ctx, "teamtalk-operator")
			return err
		},
	}.RunTests(m)
}

// startOperator starts an operator for one test.
func startOperator(t testing.TB, flags ...string) *framework.Process {
	t.Helper()
	operator, err := world.StartOperator(flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), framework.Timeout)
		defer cancel()
		if err := operator.Stop(ctx); err != nil {
			t.Errorf("the operator's end: %v", err)
		}
	})
	return operator
}

// newTenant is a tenant without a server. Its messages and servers end with the test.
func newTenant(t testing.TB, teamtalk *devserver.Server) *framework.Tenant {
	t.Helper()
	x := world.NewTenant(t, teamtalk)
	t.Cleanup(func() {
		ctx := context.Background() // the test's own has ended
		for _, kind := range []client.Object{&v1alpha1.TeamTalkMessage{}, &v1alpha1.TeamTalkServer{}} {
			x.Must(world.Admin.DeleteAllOf(ctx, kind, client.InNamespace(x.Namespace)))
		}
	})
	return x
}

// checkMemory checks that the operator has never held more than the chart permits, and logs what it holds.
func checkMemory(t testing.TB, operator *framework.Process) {
	t.Helper()
	limit, err := framework.MemoryLimit()
	if err != nil {
		t.Fatal(err)
	}
	memory, err := operator.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the operator's memory: %s", memory)
	if memory.Peak > limit {
		t.Errorf("the operator has held %d MiB, want at most %d MiB", memory.Peak>>20, limit>>20)
	}
}
