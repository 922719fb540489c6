// SPDX-License-Identifier: Apache-2.0

// Command demo implements "make demo": it builds the demo's programs and executes one of them, stage. It imports only
// the standard library and gobuild, so that it starts immediately and reports the progress of the build.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/gobuild"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run must be called in the project's root.
func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	bin := filepath.Join(root, "bin", "demo")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return fmt.Errorf("create the folder of the programs: %w", err)
	}
	say := func(format string, args ...any) { fmt.Printf("demo: "+format+"\n", args...) }
	say("building the operator, teamtalk-dev and the demo")
	err = gobuild.Build(ctx, gobuild.Request{
		What:     "the operator, teamtalk-dev and the demo",
		Dir:      root,
		Programs: []string{"./cmd/teamtalk-operator", "./cmd/teamtalk-dev", "./hack/demo/stage"},
		Into:     bin,
		// As test/framework/assets builds kube-apiserver, so that both share compiled packages.
		Args: []string{"-trimpath"},
		Env:  []string{"CGO_ENABLED=0"},
		Log:  say,
	})
	if err != nil {
		return err
	}
	stage := filepath.Join(bin, "stage")
	if err := syscall.Exec(stage, []string{stage}, os.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", stage, err)
	}
	return nil
}
