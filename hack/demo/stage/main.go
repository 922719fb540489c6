// SPDX-License-Identifier: Apache-2.0

// Command stage runs a control plane, teamtalk-dev and the operator, applies config/samples
// and prints their progress.
//
// With DEMO_EXIT=1 it exits with 0 once all samples and the alert end as expected, else with 1.
// With CLUSTER=current it uses the cluster of KUBECONFIG, with CLUSTER=kind a new one of kind.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	cluster := os.Getenv("CLUSTER") // hack/demo has checked it
	s := &stage{
		bin: filepath.Dir(binary), exit: os.Getenv("DEMO_EXIT") == "1", ended: map[string]int{},
		current: cluster != "", kind: cluster == "kind",
	}
	defer s.Stop()
	return s.play(ctx)
}
