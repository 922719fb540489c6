// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

const (
	probeInterval = 5 * time.Second
	// stuckAfter is how long a probe may take. It is long: an overloaded machine is no reason for a restart.
	stuckAfter = time.Minute
	// closedAfter is how long the gate of a leader may be closed. Leader election ends the process earlier, after
	// leadership.RenewDeadline, unless it hangs.
	closedAfter = 3 * leadership.LeaseDuration
)

// watchdog detects failures that only a restart fixes: deadlocks in the engine, and a leader that may not send and
// does not end. It ignores the state of TeamTalk and of the API server.
type watchdog struct {
	// probe acquires the locks that can be stuck.
	probe func()
	// elected is closed when this process leads. gate returns nil while it may send.
	elected <-chan struct{}
	gate    func() error

	mu sync.Mutex
	// passed is when probe last returned. opened is when the gate was last open, or allowed to be closed.
	passed, opened time.Time
}

var _ manager.LeaderElectionRunnable = (*watchdog)(nil)

func newWatchdog(probe func(), elected <-chan struct{}, gate func() error) *watchdog {
	now := time.Now()
	return &watchdog{probe: probe, elected: elected, gate: gate, passed: now, opened: now}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: a standby is watched too.
func (*watchdog) NeedLeaderElection() bool { return false }

// Start probes until ctx is done. It probes in a goroutine, because a stuck probe never returns.
func (w *watchdog) Start(ctx context.Context) error {
	go wait.UntilWithContext(ctx, w.runProbe, probeInterval)
	<-ctx.Done()
	return nil
}

func (w *watchdog) runProbe(context.Context) {
	w.probe()
	open := w.gate() == nil
	select {
	case <-w.elected:
	default:
		open = true // the gate of a standby is closed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.passed = time.Now()
	if open {
		w.opened = w.passed
	}
}

// Check is a healthz.Checker.
func (w *watchdog) Check(*http.Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case time.Since(w.passed) > stuckAfter:
		return fmt.Errorf("the delivery engine has been stuck for more than %s", stuckAfter)
	case w.passed.Sub(w.opened) > closedAfter:
		return fmt.Errorf("this process leads, but has not renewed the Lease for more than %s", closedAfter)
	}
	return nil
}
