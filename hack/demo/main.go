// Command demo shows the main job on this machine: `make demo`. It only builds
// what the demo consists of and then becomes its stage; it needs nothing but the
// standard library, so that it can say from the first second what goes on.
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

// run expects to be started in the project's root, as make does.
func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	bin := filepath.Join(root, "bin", "demo")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return fmt.Errorf("make the folder for the programs: %w", err)
	}
	say := func(format string, args ...any) { fmt.Printf("demo: "+format+"\n", args...) }
	say("building the operator, teamtalk-dev and the demo")
	err = gobuild.Build(ctx, gobuild.Request{
		What:     "the operator, teamtalk-dev and the demo",
		Dir:      root,
		Programs: []string{"./cmd/teamtalk-operator", "./cmd/teamtalk-dev", "./hack/demo/stage"},
		Into:     bin,
		Log:      say,
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
