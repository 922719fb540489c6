package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

const (
	// pulse is how often the watchdog looks.
	pulse = 5 * time.Second
	// stuckAfter is how long something may take that takes no time: a machine that
	// is short of everything must not have its operator restarted for it.
	stuckAfter = time.Minute
	// closedAfter is how long a leader may be unable to send. Leader election ends
	// the process after leadership.RenewDeadline without a renewal; where it has not
	// after this, it hangs.
	closedAfter = 3 * leadership.LeaseDuration
)

// watchdog finds out what only a restart can mend: the engine's locks being
// stuck, or a leader that may not send and has not ended. What TeamTalk and the
// API server do is no part of it: a restart would not mend them.
type watchdog struct {
	// probe passes through what may be stuck.
	probe func()
	// elected is closed when this process leads; gate says whether it may send.
	elected <-chan struct{}
	gate    func() error

	mu sync.Mutex
	// passed is when probe last returned, opened when the gate was last seen open
	// or there was no reason for it to be.
	passed, opened time.Time
}

var (
	_ manager.Runnable               = (*watchdog)(nil)
	_ manager.LeaderElectionRunnable = (*watchdog)(nil)
)

func newWatchdog(probe func(), elected <-chan struct{}, gate func() error) *watchdog {
	now := time.Now()
	return &watchdog{probe: probe, elected: elected, gate: gate, passed: now, opened: now}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: a standby is
// watched, too.
func (*watchdog) NeedLeaderElection() bool { return false }

// Start looks until ctx is done. What is stuck keeps it from looking, which is
// what Check sees; and from returning, which is why it looks in a goroutine.
func (w *watchdog) Start(ctx context.Context) error {
	go func() {
		ticker := time.NewTicker(pulse)
		defer ticker.Stop()
		for {
			w.look()
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	<-ctx.Done()
	return nil
}

func (w *watchdog) look() {
	w.probe()
	open := w.gate() == nil
	select {
	case <-w.elected:
	default:
		open = true // a standby's is closed
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
		return errors.New("elected, but the Lease has not been renewed for long: leader election hangs")
	}
	return nil
}
