// Package receiver tests TeamTalkReceivers with nothing faked: a real
// kube-apiserver and etcd, the operator and what serves receivers as processes of
// their own with the rights of their roles, teamtalk-dev, and Alertmanager.
package receiver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// world is what all tests of this package share; each has a namespace and users of
// its own.
var world struct {
	*framework.Cluster
	// gatewayConfig is the kubeconfig of a gateway.
	gatewayConfig string
	// shared is where a process of it listens that nobody kills, metrics where it
	// serves those.
	shared, metrics string
	log             framework.Log
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "the programs' log:\n%s", world.log.String())
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if world.Cluster, err = framework.StartCluster(ctx); err != nil {
		return 1, err
	}
	defer world.Stop()
	operator, err := startOperator()
	if err != nil {
		return 1, err
	}
	defer operator.Kill()

	if err := framework.BindGateway(ctx, world.Admin, gatewayUser); err != nil {
		return 1, err
	}
	if world.gatewayConfig, err = world.KubeconfigOf(gatewayUser); err != nil {
		return 1, err
	}
	if world.shared, err = freeAddress(); err != nil {
		return 1, err
	}
	if world.metrics, err = freeAddress(); err != nil {
		return 1, err
	}
	serving, err := startGateway(world.shared, "--metrics-bind-address", world.metrics)
	if err != nil {
		return 1, err
	}
	defer serving.Kill()
	if err := listening(ctx, serving, world.shared); err != nil {
		return 1, err
	}
	if code = m.Run(); code != 0 {
		return code, nil
	}
	return 0, leaks(ctx)
}

// leaks looks for what must be nowhere that somebody may look: logs, events, statuses
// and metrics.
func leaks(ctx context.Context) error {
	written, err := framework.Written(ctx, world.Admin)
	if err != nil {
		return err
	}
	written["programs' logs"] = world.log.String()
	resp, err := http.Get("http://" + world.metrics + "/metrics")
	if err != nil {
		return fmt.Errorf("read the gateway's metrics: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if written["metrics"] = string(b); err != nil || !strings.Contains(written["metrics"], "teamtalk_gateway_") {
		return fmt.Errorf("read the gateway's metrics: %q, %w", b, err)
	}
	return framework.Leaked(written, map[string]string{
		"the AES key": devserver.DevelopmentKey, "a text": secretText, "a token": secretToken, "a token of the cluster": "eyJhbGciOi",
	})
}

// What some test sends, and must not be in any log.
const (
	secretText  = "the vault is open"
	secretToken = "swordfish-4711"
)

// gatewayUser is who the gateway is to the API server.
const gatewayUser = "gateway"

func startOperator(args ...string) (*framework.Process, error) {
	// leaks looks at all that may be logged.
	return world.StartOperator(&world.log, append([]string{"--log-level", "debug"}, args...)...)
}

// startGateway starts a gateway; later arguments win.
func startGateway(address string, args ...string) (*framework.Process, error) {
	return framework.Start(world.Binary, &world.log, append([]string{
		"gateway", "--kubeconfig", world.gatewayConfig,
		"--bind-address", address, "--health-probe-bind-address", "0", "--namespace", "default", "--log-format", "text",
		"--log-level", "debug", // leaks looks at all that may be logged
	}, args...)...)
}

// listening waits until a process listens at an address.
func listening(ctx context.Context, p *framework.Process, address string) error {
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		select {
		case <-p.Ended():
			return false, fmt.Errorf("it ended before it listened at %s: %w", address, p.Err())
		default:
		}
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return false, nil //nolint:nilerr // tried again
		}
		return true, c.Close()
	})
}

// freeAddress returns an address that nobody listens at.
func freeAddress() (string, error) {
	addresses, err := framework.FreeAddresses(1)
	if err != nil {
		return "", err
	}
	return addresses[0], nil
}
