// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// sentToUsers are messages to so many users, from one sender.
func sentToUsers(n int) (sent []Sent) {
	for i := range n {
		sent = append(sent, user(uint32(100+i), uint32(1+i)).sent())
	}
	return sent
}

// unreadBy are such messages, as a status shows them.
func unreadBy(n int) (recorded []Recorded) {
	for _, s := range sentToUsers(n) {
		recorded = append(recorded, Recorded{Sent: s})
	}
	return recorded
}

func named(name string) Message {
	return Message{types.NamespacedName{Namespace: "chat", Name: name}, types.UID(name)}
}

// TestKeepIsBounded: beyond the limit, none of a message's recipients is kept.
func TestKeepIsBounded(t *testing.T) {
	withTracker(t, func(h *harness) {
		h.maxKept = 5
		keep := func(name string, recipients int, want bool) {
			t.Helper()
			if got := h.Keep(named(name), chat, sender, unreadBy(recipients)); got != want {
				t.Errorf("%s with %d is kept: %v, want %v", name, recipients, got, want)
			}
			if kept := h.keptBeside(nil); kept > h.maxKept {
				t.Errorf("%d are kept", kept)
			}
		}
		keep("a", 3, true)
		keep("b", 2, true)
		keep("b", 2, true) // as it is
		keep("c", 1, false)
		if receipts, _ := h.Receipts(named("c")); len(receipts) > 0 {
			t.Errorf("%+v", receipts)
		}
		m := user(3, 5)
		h.sent(m)
		h.reads(3, sender, 5)
		synctest.Wait()
		if h.Keep(m.resource(), chat, sender, m.recorded()) || h.readBy(m) != 1 {
			t.Error("what was read is forgotten, or kept")
		}
		keep("b", 3, false)
		if n := h.byAge.Len(); n != 3 {
			t.Errorf("%d expire, want 3", n)
		}
		keep("c", 2, true)
		h.Release(named("a").Key)
		keep("b", 3, true)
		h.Unkeep(named("b"), sentToUsers(1))
		if receipts, _ := h.Receipts(named("b")); len(receipts) != 1 {
			t.Errorf("%+v", receipts)
		}
		keep("a", 3, true)
	})
}

// TestKeepMany: so many recipients take well under a second, if no work grows with their square.
func TestKeepMany(t *testing.T) {
	tracker, sent, began, before := NewTracker(), unreadBy(maxKept), time.Now(), processorTime(t)
	slices.Reverse(sent[:10])
	if !tracker.Keep(named("a"), chat, sender, sent) {
		t.Fatal("they are not kept")
	}
	l := Listening{Since: began, ReplicaLag: lag}
	due := tracker.DueChats(chat, l, time.Now(), maxKept)
	if len(due) != maxKept {
		t.Errorf("%d are due", len(due))
	}
	asked := time.Now()
	for user := range due {
		tracker.NoteCounter(chat, Chat{user, sender}, Counter{asked, 1, user - 99}, l)
	}
	if review := tracker.Review(chat, l, time.Now()); review != (Review{Waiting: 1}) {
		t.Errorf("%+v", review)
	}
	receipts, _ := tracker.Receipts(named("a"))
	for i, r := range receipts {
		if r.To.ID != uint32(100+i) {
			t.Fatalf("%+v is number %d", r, i)
		}
	}
	tracker.Release(named("a").Key)
	if tracker.tracked != 0 || len(tracker.pending) != 0 {
		t.Errorf("%d are tracked, %d pending", tracker.tracked, len(tracker.pending))
	}
	if took := processorTime(t) - before; took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

// processorTime is what this process has used. Unlike the time that passes, it is much the same on a busy machine.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// TestWokenByReaders: without a readPolicy, the first reader wakes a message, and the one with which all have read it.
func TestWokenByReaders(t *testing.T) {
	for name, tc := range map[string]struct {
		kept bool
		want []uint32 // the readers that wake it
	}{
		"no policy": {false, []uint32{100, 104}},
		"policy":    {true, []uint32{100, 101, 102, 103, 104}},
	} {
		t.Run(name, func(t *testing.T) {
			withTracker(t, func(h *harness) {
				m, reader := named("m"), uint32(0)
				var woken []uint32
				h.Wake = func(types.NamespacedName) { woken = append(woken, reader) }
				h.Keep(m, chat, sender, unreadBy(5))
				if !tc.kept {
					h.Unkeep(m, sentToUsers(5))
				}
				for reader = range uint32(105) {
					h.reads(reader, sender, 9)
					h.reads(reader, sender, 9) // by another router
					synctest.Wait()
				}
				if !slices.Equal(woken, tc.want) {
					t.Errorf("woken by %v, want %v", woken, tc.want)
				}
			})
		})
	}
}

// TestNext: when a resource may be looked at again is its own, and ends with it.
func TestNext(t *testing.T) {
	withTracker(t, func(h *harness) {
		m := named("m")
		h.SetNext(m.Key, time.Now().Add(time.Minute))
		waits := []time.Duration{h.Wait(m.Key)}
		h.Keep(m, chat, sender, unreadBy(1))
		h.SetNext(m.Key, time.Now().Add(time.Minute))
		pass(time.Second)
		waits = append(waits, h.Wait(m.Key))
		pass(time.Minute)
		waits = append(waits, h.Wait(m.Key))
		if want := []time.Duration{0, 59 * time.Second, 0}; !slices.Equal(waits, want) {
			t.Errorf("waits %v, want %v", waits, want)
		}
	})
}
