// Package operator tests the whole way with nothing faked: a real kube-apiserver
// and etcd, the operator's binary as a process with the rights of its role, and
// teamtalk-dev.
package operator

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// world is what all tests of this package share; each has a namespace and a
// TeamTalkServer of its own.
var world struct {
	*framework.Cluster
	operator *framework.Process
	log      framework.Log
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
	if world.Cluster, err = framework.StartCluster(ctx); err != nil {
		return 1, err
	}
	defer world.Stop()
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

// secretText is sent by some test, and must not be in anything that the operator writes.
const secretText = "Code freeze starts Monday"

// startOperator starts an operator that logs all it can: leaks looks at that.
func startOperator() (*framework.Process, error) {
	return world.StartOperator(&world.log, "--log-level", "debug")
}
