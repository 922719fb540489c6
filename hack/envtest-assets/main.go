// Command envtest-assets prints the folder that holds kube-apiserver and etcd,
// after finding, downloading or building them; progress goes to standard error:
//
//	export KUBEBUILDER_ASSETS=$(go run ./hack/envtest-assets)
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
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
	dir, err := controlplane.Assets(ctx, controlplane.Options{})
	if err != nil {
		return err
	}
	_, err = fmt.Println(dir)
	return err
}
