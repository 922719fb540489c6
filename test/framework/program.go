// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// RunProgram runs a test program until it ends or is interrupted. It exits with 1 if run has
// not passed, and with 2 on an error.
func RunProgram(name string, run func(ctx context.Context) (passed bool, err error)) {
	DiscardLogs()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	passed, err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	}
	if !passed {
		os.Exit(1)
	}
}

// DiscardLogs discards the logs of the Kubernetes clients in this process.
func DiscardLogs() {
	logf.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
}
