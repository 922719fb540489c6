// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestResting keeps the slots of what was not answered, gives one of them up now and
// then, and all of them once db_proxy has answered something.
func TestResting(t *testing.T) {
	const atLeast = 20 * time.Second
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(64, 4)
		acquire := func(n int) (got []func()) {
			for range n {
				release, err := l.Acquire(atOnce(t), true)
				if err == nil {
					got = append(got, release)
				}
			}
			return got
		}
		free := func(want int) {
			t.Helper()
			synctest.Wait()
			got := acquire(4)
			if len(got) != want {
				t.Errorf("%d slots are free, want %d", len(got), want)
			}
			for _, release := range got {
				release()
			}
		}
		rest := func(slots []func()) {
			for range slots {
				l.quarantineSlot(atLeast)
			}
		}
		rest(acquire(4))
		elapse(atLeast - time.Second)
		free(0)
		elapse(time.Second)
		free(1)
		// One that nobody has taken is enough.
		elapse(10 * time.Minute)
		free(1)
		// Taken, and not answered either: the next one is given up after a pause.
		rest(acquire(1))
		free(0)
		elapse(3 * atLeast)
		free(1)
		l.answered()
		free(4)
		// It answers: what was not answered rests for its time only.
		rest(acquire(4))
		elapse(time.Second)
		l.answered()
		free(0)
		elapse(atLeast)
		free(4)
		// Let the last pause end within the bubble.
		elapse(time.Hour)
	})
}

// TestRestingLeavesOthers: where db_proxy hung and nobody asks about groups any more,
// its slots are there for all others.
func TestRestingLeavesOthers(t *testing.T) {
	const bound, atLeast = 16, 20 * time.Second // one bound for all, as declared
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(bound, bound)
		acquire := func(group bool) (got []func()) {
			for range bound {
				if release, err := l.Acquire(atOnce(t), group); err == nil {
					got = append(got, release)
				}
			}
			return got
		}
		for range acquire(true) {
			l.quarantineSlot(atLeast)
		}
		elapse(atLeast - time.Second)
		if n := len(acquire(false)); n != 0 {
			t.Errorf("%d slots while db_proxy is taken to be busy with all", n)
		}
		// Who waits is told.
		waiting := make(chan error, 1)
		go func() {
			release, err := l.Acquire(t.Context(), false)
			if err == nil {
				release()
			}
			waiting <- err
		}()
		elapse(time.Second)
		if err := <-waiting; err != nil {
			t.Fatal(err)
		}
		probes, others := acquire(true), acquire(false)
		if len(probes) != 1 || len(others) != bound-1 {
			t.Errorf("%d slots for groups, want one that shows whether db_proxy is back; then %d", len(probes), len(others))
		}
		l.answered()
		for _, release := range append(probes, others...) {
			release()
		}
		if n := len(acquire(true)); n != bound {
			t.Errorf("%d slots for groups once db_proxy has answered", n)
		}
		elapse(time.Hour)
	})
}

// TestRestingCount counts what a db_proxy that hangs for five minutes is given by those
// who always have another request. Documented in docs/architecture.md.
func TestRestingCount(t *testing.T) {
	const timeout, want = 10 * time.Second, 14
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(defaultTotal, defaultGroup)
		given := 0
		for range 5 * 60 {
			for {
				if _, err := l.Acquire(atOnce(t), true); err != nil {
					break
				}
				given++
				time.AfterFunc(timeout, func() { l.quarantineSlot(quarantineFactor * timeout) })
			}
			elapse(time.Second)
		}
		if given != want {
			t.Errorf("%d requests, want %d", given, want)
		}
		elapse(time.Hour)
	})
}

// atOnce is for an Acquire that must not wait.
func atOnce(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	t.Cleanup(cancel)
	return ctx
}
