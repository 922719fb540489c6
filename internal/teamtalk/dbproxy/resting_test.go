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
			for _, release := range slots {
				l.rest(release, atLeast)
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
		l.resting.answered()
		free(4)
		// It answers: what was not answered rests for its time only.
		rest(acquire(4))
		elapse(time.Second)
		l.resting.answered()
		free(0)
		elapse(atLeast)
		free(4)
		// Let the last pause end within the bubble.
		elapse(time.Hour)
	})
}

// atOnce is for an Acquire that must not wait.
func atOnce(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	t.Cleanup(cancel)
	return ctx
}
