// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
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

// Cleanups ends what a program has started.
type Cleanups struct{ ends []func() }

// Cleanup registers f to be called by Stop, before earlier functions.
func (c *Cleanups) Cleanup(f func()) { c.ends = append(c.ends, f) }

// Stop calls the registered functions, the last one first.
func (c *Cleanups) Stop() {
	for _, end := range slices.Backward(c.ends) {
		end()
	}
	c.ends = nil
}
