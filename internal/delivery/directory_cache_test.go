// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// library is a directory whose requests are counted, take half a second, and fail or hang when a test says so.
type library struct {
	*talk
	mu    sync.Mutex
	asked [][]uint32
	// fail decides by the number of the question, counted from 0, and what is asked for.
	fail func(n int, ids []uint32) error
}

func (l *library) Path() (dbproxy.Reads, error) { return l, nil }

func (l *library) Users(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	l.mu.Lock()
	n := len(l.asked)
	l.asked = append(l.asked, slices.Clone(ids))
	l.mu.Unlock()
	wait := 500 * time.Millisecond
	var err error
	if l.fail != nil {
		if err = l.fail(n, ids); errors.Is(err, dbproxy.ErrNoAnswer) {
			wait = clientTimeout
		}
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return l.talk.Users(ctx, asker, ids)
}

// batches returns how many users each batch asked for, beside the sender.
func (l *library) batches() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sizes []int
	for _, ids := range l.asked {
		if ids[0] != bot {
			return nil
		}
		sizes = append(sizes, len(ids)-1)
	}
	return sizes
}

// lookers is a cache in a bubble, and its users.
type lookers struct {
	t         *testing.T
	directory directoryCache
	library   *library
	answers   sync.WaitGroup
}

func withDirectory(t *testing.T, do func(*lookers)) {
	synctest.Test(t, func(t *testing.T) {
		x := &lookers{t: t, library: &library{talk: newTalk(t)}}
		do(x)
		x.answers.Wait()
		x.directory.batches.Wait()
	})
}

func (x *lookers) spec() Task { return Task{Server: x.library, Stores: []string{"db"}, Sender: bot} }

// get asks in the background; check is called with the answer.
func (x *lookers) get(ctx context.Context, to v1alpha1.Recipient, notBefore time.Time, check func(DirectorySnapshot, error)) {
	x.answers.Go(func() { check(x.directory.get(ctx, x.spec(), to, notBefore)) })
}

func (x *lookers) wantBatches(want ...int) {
	x.t.Helper()
	synctest.Wait()
	if got := x.library.batches(); !slices.Equal(got, want) {
		x.t.Errorf("batches of %v users, want %v", got, want)
	}
}

// present fails the test if the snapshot refuses the recipient.
func (x *lookers) present(to v1alpha1.Recipient) func(DirectorySnapshot, error) {
	return func(snapshot DirectorySnapshot, err error) {
		if refusal := snapshot.refusal(bot, to); err != nil || refusal != nil {
			x.t.Errorf("%v: %v %v", to, refusal, err)
		}
	}
}

// TestAskedTogether: who comes at once is asked for together, who comes while a
// question is under way by the next one, and nobody twice.
func TestAskedTogether(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		long := time.Now().Add(-directoryTTL)
		for id := uint32(1000); id < 1450; id++ {
			x.library.users[id] = true
		}
		for id := uint32(1000); id < 1450; id++ {
			for range 2 {
				x.get(x.t.Context(), user(id), long, x.present(user(id)))
			}
		}
		synctest.Wait()
		x.get(x.t.Context(), toAlice, long, x.present(toAlice))
		x.answers.Wait()
		asked := x.library.batches()
		total := 0
		for _, n := range asked {
			total += n
		}
		// The first one goes with whoever happens to be there.
		if len(asked) < 3 || len(asked) > 4 || slices.Max(asked) > maxUsersPerRequest || total != 451 {
			t.Errorf("questions for %v users", asked)
		}
		x.get(x.t.Context(), user(1449), long, x.present(user(1449)))
		x.answers.Wait()
		x.wantBatches(asked...)
	})
}

// TestForeseen: the recipients of one message are asked for together, from the
// first question on; nobody who is known by then is asked for again.
func TestForeseen(t *testing.T) {
	run(t, func(h *harness) {
		library := &library{talk: h.talk}
		var to []v1alpha1.Recipient
		for id := uint32(1000); id < 1000+maxUsersPerRequest; id++ {
			library.users[id] = true
			to = append(to, user(id))
		}
		send := func(uid string) {
			spec := h.task(uid, to...)
			spec.Server = library
			h.submit(spec)
			h.await(spec.UID, time.Minute)
		}
		send("a")
		send("b")
		if got := library.batches(); !slices.Equal(got, []int{maxUsersPerRequest}) {
			t.Errorf("questions for %v users, want all at once", got)
		}
	})
}

// TestSharedByMessages: messages that follow each other ask once.
func TestSharedByMessages(t *testing.T) {
	run(t, func(h *harness) {
		library := &library{talk: h.talk}
		for _, uid := range []string{"a", "b", "c"} {
			spec := h.task(uid, toAlice, toGroup)
			spec.Server = library
			h.submit(spec)
			h.await(spec.UID, time.Minute)
		}
		if n := len(library.batches()); n > 2 {
			t.Errorf("%d questions", n)
		}
		h.wantCounts(6, 6, 6)
	})
}

// TestBeliefEnds: somebody is believed to be there for lookLife, never after a
// later notBefore, and leaves nothing behind.
func TestBeliefEnds(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		snapshot := func(notBefore time.Time) {
			x.get(x.t.Context(), toAlice, notBefore, x.present(toAlice))
			x.answers.Wait()
		}
		began := time.Now()
		snapshot(began)
		advance(directoryTTL - time.Second)
		snapshot(time.Now().Add(-directoryTTL))
		x.wantBatches(1)
		snapshot(time.Now())
		x.wantBatches(1, 1)
		advance(directoryTTL + time.Second)
		snapshot(time.Now().Add(-directoryTTL))
		x.wantBatches(1, 1, 1)
		advance(3 * directoryTTL)
		x.library.users[bob] = true
		x.get(x.t.Context(), user(bob), time.Now(), x.present(user(bob)))
		x.answers.Wait()
		if n := x.directory.views[viewKey{x.library, bot}].lastSeen.Len(); n != 2 {
			t.Errorf("%d are remembered, want the sender and the other user", n)
		}
		advance(2 * directoryTTL)
		other := x.spec()
		other.Sender = bob
		if _, err := x.directory.get(x.t.Context(), other, toAlice, time.Now()); err != nil || len(x.directory.views) != 1 {
			t.Errorf("%d views are left, want the new one: %v", len(x.directory.views), err)
		}
	})
}

// TestMissingIsNotKept: who is missing is asked for each time, is no longer
// believed to be there, and found once he is back.
func TestMissingIsNotKept(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		long := time.Now().Add(-directoryTTL)
		ask := func(notBefore time.Time, want string) {
			t.Helper()
			x.get(x.t.Context(), toAlice, notBefore, func(snapshot DirectorySnapshot, err error) {
				reason := ""
				if refusal := snapshot.refusal(bot, toAlice); refusal != nil {
					reason = refusal.Reason
				}
				if err != nil || reason != want || !snapshot.respondsWithData() {
					t.Errorf("%q %v, want %q", reason, err, want)
				}
			})
			x.answers.Wait()
		}
		ask(long, "")
		delete(x.library.users, alice)
		ask(long, "") // still believed
		ask(time.Now(), v1alpha1.ReasonRecipientNotFound)
		ask(long, v1alpha1.ReasonRecipientNotFound)
		x.wantBatches(1, 1, 1)
		x.library.users[alice] = true
		ask(long, "")
		// A sender who is missing is so for everybody.
		delete(x.library.users, bot)
		ask(time.Now(), v1alpha1.ReasonSenderNotFound)
		ask(long, v1alpha1.ReasonSenderNotFound)
		x.wantBatches(1, 1, 1, 1, 1, 1)
		// An outage is no evidence, and takes nothing from what is known.
		x.library.users[bot] = true
		ask(time.Now(), "")
		x.library.users = nil
		x.get(x.t.Context(), toAlice, time.Now(), func(snapshot DirectorySnapshot, err error) {
			if err != nil || snapshot.respondsWithData() {
				t.Errorf("%+v %v, want an empty look", snapshot, err)
			}
		})
		x.answers.Wait()
		ask(long, "")
	})
}

// TestEmptyGroupIsNotKept: membership is believed where it was seen.
func TestEmptyGroupIsNotKept(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.library.groups[8] = nil
		long := time.Now().Add(-directoryTTL)
		for _, to := range []v1alpha1.Recipient{toGroup, toGroup, {Type: v1alpha1.RecipientGroup, ID: 8}, {Type: v1alpha1.RecipientGroup, ID: 8}} {
			x.get(x.t.Context(), to, long, x.present(to))
			x.answers.Wait()
		}
		if n := len(x.library.batches()); n != 3 {
			t.Errorf("%d questions, want one for the first group and two for the empty one", n)
		}
	})
}

// TestNothingBorrowed: what one session or sender has seen counts for no other.
func TestNothingBorrowed(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		long := time.Now().Add(-directoryTTL)
		x.library.users[2] = true
		edits := map[string]func(*Task){
			"same": func(*Task) {}, "session": func(s *Task) { s.Server = &library{talk: x.library.talk} },
			"sender": func(s *Task) { s.Sender = 2 },
		}
		for _, name := range []string{"same", "session", "sender"} {
			spec := x.spec()
			edits[name](&spec)
			if _, err := x.directory.get(x.t.Context(), spec, toAlice, long); err != nil {
				t.Error(err)
			}
		}
		if n := len(x.directory.views); n != 3 {
			t.Errorf("%d books, want one for each", n)
		}
	})
}

// TestLeaving: who leaves takes nobody along, and the last one takes the question along.
func TestLeaving(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		first, leave := context.WithCancel(x.t.Context())
		gone := func(_ DirectorySnapshot, err error) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want to have left", err)
			}
		}
		x.library.users[5] = true
		x.get(x.t.Context(), user(5), time.Now(), x.present(user(5)))
		synctest.Wait()
		// Both by the next question.
		x.get(first, toAlice, time.Now(), gone)
		x.get(x.t.Context(), user(bob), time.Now(), x.present(user(bob)))
		advance(700 * time.Millisecond)
		x.wantBatches(1, 2)
		// And one who leaves before he is asked for.
		x.get(first, user(5), time.Now(), gone)
		synctest.Wait()
		leave()
		x.answers.Wait()
		x.wantBatches(1, 2)
		x.get(first, toAlice, time.Now(), gone)
		x.answers.Wait()

		x.library.fail = func(int, []uint32) error { return dbproxy.ErrNoAnswer }
		alone, leave := context.WithCancel(x.t.Context())
		x.get(alone, user(bob), time.Now(), gone)
		synctest.Wait()
		began := time.Now()
		leave()
		x.directory.batches.Wait()
		if time.Since(began) != 0 {
			t.Errorf("asked on for %v", time.Since(began))
		}
	})
}

// TestLostAnswer: those who come after a question that is not answered wait for it no longer than lookPatience.
func TestLostAnswer(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.library.fail = func(n int, _ []uint32) error {
			if n == 0 {
				return dbproxy.ErrNoAnswer
			}
			return nil
		}
		x.get(x.t.Context(), toAlice, time.Now(), func(_ DirectorySnapshot, err error) {
			if !errors.Is(err, dbproxy.ErrNoAnswer) {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
		began := time.Now()
		x.get(x.t.Context(), user(bob), began, func(snapshot DirectorySnapshot, err error) {
			x.present(user(bob))(snapshot, err)
			if took := time.Since(began); took > 2*batchPatience {
				t.Errorf("took %v", took)
			}
		})
		x.answers.Wait()
		x.wantBatches(1, 1)
	})
}

// TestTooLong: one whose answer cannot be held fails fewer and fewer others.
func TestTooLong(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.library.fail = func(_ int, ids []uint32) error {
			if slices.Contains(ids, alice) {
				return dbproxy.ErrTooLong
			}
			return nil
		}
		for id := uint32(1000); id < 1199; id++ {
			x.library.users[id] = true
		}
		var failed atomic.Int32
		fewest := int32(maxUsersPerRequest)
		for range maxShrunk + 1 {
			failed.Store(0)
			x.get(x.t.Context(), toAlice, time.Now(), func(DirectorySnapshot, error) {})
			for id := uint32(1000); id < 1199; id++ {
				x.get(x.t.Context(), user(id), time.Now(), func(_ DirectorySnapshot, err error) {
					if err != nil {
						failed.Add(1)
					}
				})
			}
			x.answers.Wait()
			fewest = min(fewest, failed.Load())
		}
		if fewest >= maxUsersPerRequest>>2 {
			t.Errorf("%d still fail with it", fewest)
		}
	})
}
