// SPDX-License-Identifier: Apache-2.0

// Package receiver tests TeamTalkReceivers with nothing faked: a real
// kube-apiserver and etcd, the operator and what serves receivers as processes of
// their own with the rights of their roles, teamtalk-dev, and Alertmanager.
package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// world is what all tests of this package share. Each has a tenant of its own.
var world struct {
	*framework.Cluster
	// gatewayConfig is the kubeconfig of a gateway.
	gatewayConfig string
	// shared is where a gateway listens that no test ends, metrics where it serves those.
	shared, metrics string
}

// What the tests send or authenticate with. The programs must not show it anywhere.
const (
	secretText  = "the vault is open"
	secretToken = "swordfish-4711"
)

// gatewayUser is the gateway's user at the API server.
const gatewayUser = "gateway"

func TestMain(m *testing.M) {
	framework.Suite{
		Parallel: 6, Setup: setup, Outputs: readMetrics,
		Secrets: map[string]string{"a text": secretText, "a token": secretToken},
	}.RunTests(m)
}

func setup(ctx context.Context, c *framework.Cluster) error {
	world.Cluster = c
	if err := c.StartLeader(); err != nil {
		return err
	}
	if err := framework.BindGateway(ctx, c.Admin, gatewayUser); err != nil {
		return err
	}
	var err error
	if world.gatewayConfig, err = c.KubeconfigOf(gatewayUser); err != nil {
		return err
	}
	addresses, err := framework.FreeAddresses(2)
	if err != nil {
		return err
	}
	world.shared, world.metrics = addresses[0], addresses[1]
	gateway, err := startGateway(world.shared, "--metrics-bind-address", world.metrics)
	if err != nil {
		return err
	}
	c.Cleanup(gateway.Kill)
	return errors.Join(gateway.AwaitListening(ctx, world.shared), gateway.AwaitListening(ctx, world.metrics))
}

// readMetrics returns what the shared gateway exposes.
func readMetrics(context.Context) (map[string]string, error) {
	resp, err := http.Get("http://" + world.metrics + "/metrics")
	if err != nil {
		return nil, fmt.Errorf("read the gateway's metrics: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(b), "teamtalk_gateway_") {
		return nil, fmt.Errorf("read the gateway's metrics: %q, %w", b, err)
	}
	return map[string]string{"metrics": string(b)}, nil
}

// startGateway starts a gateway that logs all that it can. Later arguments win.
func startGateway(address string, args ...string) (*framework.Process, error) {
	return framework.Start(world.Binary, &world.Log, append([]string{
		"gateway", "--kubeconfig", world.gatewayConfig, "--bind-address", address, "--health-probe-bind-address", "0",
		"--namespace", "default", "--log-format", "text", "--log-level", "debug",
	}, args...)...)
}
