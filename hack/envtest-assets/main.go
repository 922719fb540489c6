// SPDX-License-Identifier: Apache-2.0

// Command envtest-assets prints the folder of kube-apiserver and etcd, which it finds,
// downloads or builds. It logs progress to standard error.
//
//	export KUBEBUILDER_ASSETS=$(go run ./hack/envtest-assets)
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/assets"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "envtest-assets:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := assets.ControlPlane(ctx, nil)
	if err != nil {
		return err
	}
	_, err = fmt.Println(dir)
	return err
}
