// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

const quarantineTime = 20 * time.Second

// acquire takes as many of n slots as are free.
func acquire(t *testing.T, s *share, n int, group bool) (calls []*call) {
	for range n {
		if slot, err := s.acquire(atOnce(t), group); err == nil {
			calls = append(calls, &call{exchange: &exchange{group: group}, began: time.Now(), slot: slot})
		}
	}
	return calls
}

// abandon quarantines the slots of calls.
func abandon(s *share, calls []*call) {
	for _, cl := range calls {
		s.limiter.quarantineSlot(quarantineTime, cl)
	}
}

// answerGroup answers a request about a group that is sent now.
func answerGroup(s *share) {
	s.limiter.answered(&call{exchange: &exchange{group: true}, began: time.Now()})
}

// TestQuarantine keeps the slots of requests without an answer, releases one of them now and then, and all of them
// after an answer of db_proxy.
func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newShare(64, 4)
		free := func(want int) {
			t.Helper()
			synctest.Wait()
			got := acquire(t, l, 4, true)
			if len(got) != want {
				t.Errorf("%d slots are free, want %d", len(got), want)
			}
			for _, cl := range got {
				cl.slot.release()
			}
		}
		abandon(l, acquire(t, l, 4, true))
		peer.Elapse(quarantineTime - time.Second)
		free(0)
		peer.Elapse(time.Second)
		free(1)
		// While it is free, no other one is released.
		peer.Elapse(10 * time.Minute)
		free(1)
		// Taken, and not answered either: the next one is released after a pause.
		abandon(l, acquire(t, l, 1, true))
		free(0)
		peer.Elapse(3 * quarantineTime)
		free(1)
		answerGroup(l)
		free(4)
		// An answer during the quarantine releases the slots at once, unless its request was sent before theirs.
		before := &call{exchange: &exchange{group: true}, began: time.Now()}
		peer.Elapse(time.Second)
		abandon(l, acquire(t, l, 4, true))
		peer.Elapse(time.Second)
		l.limiter.answered(before)
		free(0)
		// Group info is answered while messages and history hang.
		l.limiter.answered(&call{exchange: &exchange{group: true, request: wire.CommandGroupInfoReq}, began: time.Now()})
		free(0)
		answerGroup(l)
		free(4)
	})
}

// TestQuarantinesEndTogether: of slots whose quarantines end at the same instant, one is released. The timers run
// concurrently, so there are many rounds.
func TestQuarantinesEndTogether(t *testing.T) {
	const group, rounds = 8, 200
	synctest.Test(t, func(t *testing.T) {
		for range rounds {
			s := newShare(64, group)
			abandon(s, acquire(t, s, group, true))
			peer.Elapse(quarantineTime)
			synctest.Wait()
			if got := acquire(t, s, group, true); len(got) != 1 {
				t.Fatalf("%d slots are free, want 1", len(got))
			}
			answerGroup(s) // ends its timers
			s.disconnect()
		}
	})
}

// TestQuarantineLeavesSingleChats: the slots of a db_proxy that hung are free for requests about single chats, even
// if no request about a group follows.
func TestQuarantineLeavesSingleChats(t *testing.T) {
	const bound = 16 // for both
	synctest.Test(t, func(t *testing.T) {
		l := newShare(bound, bound)
		abandon(l, acquire(t, l, bound, true))
		peer.Elapse(quarantineTime - time.Second)
		if n := len(acquire(t, l, bound, false)); n != 0 {
			t.Errorf("%d slots are free during the quarantine", n)
		}
		waiting := peer.Async(func() error {
			slot, err := l.acquire(t.Context(), false)
			if err == nil {
				slot.release()
			}
			return err
		})
		peer.Elapse(time.Second)
		peer.WantErr(t, "waiting", <-waiting)
		probes, others := acquire(t, l, bound, true), acquire(t, l, bound, false)
		if len(probes) != 1 || len(others) != bound-1 {
			t.Errorf("%d and %d slots, want one for groups, as a probe, and %d others", len(probes), len(others), bound-1)
		}
		answerGroup(l)
		for _, cl := range append(probes, others...) {
			cl.slot.release()
		}
		if n := len(acquire(t, l, bound, true)); n != bound {
			t.Errorf("%d slots for groups after an answer", n)
		}
	})
}

// TestQuarantineCount counts what a db_proxy that hangs for five minutes gets from callers that always have another
// request. Documented in docs/explanation/architecture.md.
func TestQuarantineCount(t *testing.T) {
	const timeout, total = 10 * time.Second, 64
	for group, want := range map[int]int{1: 9, 8: 14} {
		t.Run(fmt.Sprint("limit ", group), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newShare(total, group)
				granted := 0
				for range 5 * 60 {
					for _, cl := range acquire(t, l, total, true) {
						granted++
						time.AfterFunc(l.limiter.lateAfter(true), func() { l.limiter.becomesLate(cl, cl.began) })
						time.AfterFunc(timeout, func() {
							l.limiter.quarantineSlot(quarantineFactor*timeout, cl)
							l.limiter.ends(cl)
						})
					}
					peer.Elapse(time.Second)
				}
				if granted != want {
					t.Errorf("%d requests, want %d", granted, want)
				}
			})
		})
	}
}

// atOnce is for an Acquire that must not wait.
func atOnce(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	t.Cleanup(cancel)
	return ctx
}
