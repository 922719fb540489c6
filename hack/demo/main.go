// SPDX-License-Identifier: Apache-2.0

// Command demo implements "make demo": it checks what CLUSTER needs, builds the demo's programs
// and executes one of them, stage. It imports the standard library and gobuild alone, so that it
// starts at once and reports the progress of the build.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
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
	if err := checkCluster(ctx, os.Getenv("CLUSTER")); err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	bin := filepath.Join(root, "bin", "demo")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return fmt.Errorf("create the folder of the programs: %w", err)
	}
	say := func(format string, args ...any) { fmt.Printf("demo: "+format+"\n", args...) }
	const what = "the operator, teamtalk-dev, kubectl-teamtalk and the demo"
	say("building %s", what)
	err = gobuild.Build(ctx, gobuild.Request{
		What:     what,
		Dir:      root,
		Programs: []string{"./cmd/teamtalk-operator", "./cmd/teamtalk-dev", "./cmd/kubectl-teamtalk", "./hack/demo/stage"},
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

// kindCluster is the name of the cluster that stage creates with kind.
const kindCluster = "teamtalk-demo"

// checkCluster returns an error if CLUSTER has another value than those that are documented, or
// if it is kind and no cluster can be created: before minutes are spent on the build.
func checkCluster(ctx context.Context, cluster string) error {
	switch cluster {
	case "", "current":
		return nil
	case "kind":
	default:
		return fmt.Errorf("CLUSTER is %q: set it to \"current\" for the cluster of KUBECONFIG, "+
			"to \"kind\" for a new one of kind, or unset it", cluster)
	}
	kind, err := exec.LookPath("kind")
	if err != nil {
		return errors.New("CLUSTER=kind needs the program kind in PATH: see https://kind.sigs.k8s.io, " +
			"or unset CLUSTER for a control plane without containers")
	}
	list := exec.CommandContext(ctx, kind, "get", "clusters")
	var fault strings.Builder
	list.Stderr = &fault
	clusters, err := list.Output()
	if err != nil {
		return fmt.Errorf("CLUSTER=kind needs a container runtime that kind can use: start Docker, Podman or nerdctl, "+
			"or unset CLUSTER for a control plane without containers; kind get clusters: %s",
			strings.Join(strings.Fields(fault.String()), " "))
	}
	if slices.Contains(strings.Fields(string(clusters)), kindCluster) {
		return fmt.Errorf("kind has a cluster %s already, perhaps from another demo: "+
			"delete it with \"kind delete cluster --name %s\"", kindCluster, kindCluster)
	}
	return nil
}
