// SPDX-License-Identifier: Apache-2.0

// Package operator tests the whole path of a message with nothing faked: a real
// kube-apiserver and etcd, the operator's binary as a process with the rights of its
// role, and teamtalk-dev.
package operator

import (
	"context"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// world is what all tests of this package share. Each test has a tenant of its own.
var world *framework.Cluster

// secretText is sent by some test. The operator must not write it anywhere.
const secretText = "Code freeze starts Monday"

func TestMain(m *testing.M) {
	framework.Suite{
		Parallel: 12,
		Setup: func(_ context.Context, c *framework.Cluster) error {
			world = c
			return c.StartLeader()
		},
		Secrets: map[string]string{"a message's text": secretText},
	}.RunTests(m)
}
