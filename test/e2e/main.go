// SPDX-License-Identifier: Apache-2.0

// Command e2e installs the operator on a real node and takes it through its life under load: see
// docs/explanation/e2e.md.
// It exits with 1 if any step is not ok.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func main() {
	becomeKubectl()
	become() // in the namespaces of a node of its own this does not return
	framework.RunProgram("e2e", e2e)
}

// e2e runs on the cluster that is asked for, and prints the table.
func e2e(ctx context.Context) (passed bool, err error) {
	began := time.Now()
	t := &table{}
	root, err := framework.Root()
	if err != nil {
		return false, err
	}
	switch cluster := os.Getenv("CLUSTER"); cluster {
	case "current":
		err = onCurrent(ctx, t, root)
	case "", "node":
		err = onOwnNode(ctx, t, root)
	default:
		return false, fmt.Errorf("CLUSTER is %q: want current for the cluster of your kubeconfig, or nothing for a node on "+
			"this machine", cluster)
	}
	if len(t.Rows) > 0 && !inside() { // the process outside prints it
		t.print(os.Stdout, time.Since(began))
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return t.passed() && err == nil, err
}
