// Package gateway tests the HTTP gateway with nothing faked: a real kube-apiserver
// and etcd, the operator and the gateway as processes with the rights of their
// roles, and teamtalk-dev.
package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// world is what all tests of this package share.
var world struct {
	*framework.Cluster
	operator *framework.Process
	log      framework.Log
	// logs and metrics are of every gateway that was started.
	logs, metrics framework.Log
}

// secrets are used by the tests and must be in no log: texts, tokens and keys.
const (
	secretText   = "Code freeze starts Monday"
	secretAppKey = "an-app-key-of-some-length"
)

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
	if world.Cluster, err = framework.StartCluster(ctx); err != nil {
		return 1, err
	}
	defer world.Stop()
	roles, err := framework.Read(filepath.Join(world.Root, "config", "rbac", "gateway_role.yaml"))
	if err != nil {
		return 1, err
	}
	for _, o := range roles {
		if o.GetKind() == "Role" {
			o.SetNamespace("default")
		}
	}
	if err := framework.Apply(ctx, world.Admin, roles...); err != nil {
		return 1, err
	}
	if world.operator, err = world.StartOperator(&world.log); err != nil {
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
	written, err := framework.Written(ctx, world.Admin)
	if err != nil {
		return err
	}
	written["operator's log"], written["gateways' logs"], written["gateways' metrics"] = world.log.String(), world.logs.String(), world.metrics.String()
	for _, where := range []string{"operator's log", "gateways' logs", "gateways' metrics", "statuses of messages"} {
		if written[where] == "" {
			return fmt.Errorf("nothing was written to the %s", where)
		}
	}
	return framework.Leaked(written, map[string]string{
		"the AES key": devserver.DevelopmentKey, "a message's text": secretText, "an app key": secretAppKey, "a token": "eyJhbGciOi",
	})
}
