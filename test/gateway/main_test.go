// SPDX-License-Identifier: Apache-2.0

// Package gateway tests the HTTP gateway with nothing faked: a real kube-apiserver
// and etcd, the operator and the gateway as processes with the rights of their
// roles, and teamtalk-dev.
package gateway

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// world is what all tests of this package share.
var world *framework.Cluster

// metrics are those of every gateway, as it ends.
var metrics framework.Log

// What the tests send or authenticate with. The programs must not show it anywhere.
const (
	secretText   = "Code freeze starts Monday"
	secretAppKey = "an-app-key-of-some-length"
)

func TestMain(m *testing.M) {
	framework.Suite{
		Parallel: 4, // callers wait for a limited time: a busy machine must not use it up
		Setup: func(ctx context.Context, c *framework.Cluster) error {
			world = c
			roles, err := framework.Read(filepath.Join(c.Root, "config", "rbac", "gateway_role.yaml"))
			if err != nil {
				return err
			}
			for _, role := range roles {
				if role.GetKind() == "Role" {
					role.SetNamespace("default")
				}
			}
			if err := framework.Apply(ctx, c.Admin, roles...); err != nil {
				return err
			}
			return c.StartLeader()
		},
		Secrets: map[string]string{"a message's text": secretText, "an app key": secretAppKey},
		Outputs: func(context.Context) (map[string]string, error) {
			if metrics.String() == "" || !strings.Contains(world.Log.String(), `"msg":"listening"`) {
				return nil, errors.New("no gateway has logged or shown metrics")
			}
			return map[string]string{"gateways' metrics": metrics.String()}, nil
		},
	}.RunTests(m)
}
