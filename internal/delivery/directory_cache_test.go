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
	// fail decides by the number of the request, counted from 0, and the ids.
	fail func(n int, ids []uint32) error
}

func (l *library) Path() (dbproxy.Reads, func(), error) { return l, func() {}, nil }

func (l *library) Users(ctx context.Context, user uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
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
	return l.talk.Users(ctx, user, ids)
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

// lookers is a cache in a bubble, and its users. long is a time since which everything may have been seen.
type lookers struct {
	t         *testing.T
	directory directoryCache
	library   *library
	answers   sync.WaitGroup
	long      time.Time
}

func withDirectory(t *testing.T, do func(*lookers)) {
	synctest.Test(t, func(t *testing.T) {
		x := &lookers{t: t, library: &library{talk: newTalk(t)}, long: time.Now().Add(-directoryTTL)}
		do(x)
		x.answers.Wait()
		x.directory.batches.Wait()
	})
}

func (x *lookers) spec() Task { return Task{Server: x.library, Sender: bot} }

// get asks in the background; check is called with the answer.
func (x *lookers) get(ctx context.Context, to v1alpha1.Recipient, notBefore time.Time, check func(DirectorySnapshot, error)) {
	x.answers.Go(func() { check(x.directory.get(ctx, x.spec(), to, notBefore)) })
}

// wantRefusal returns a check that the recipient is refused with a reason; "": it is present.
func (x *lookers) wantRefusal(to v1alpha1.Recipient, want string) func(DirectorySnapshot, error) {
	return func(snapshot DirectorySnapshot, err error) {
		reason := ""
		if refusal := snapshot.refusal(bot, to); refusal != nil {
			reason = refusal.Reason
		}
		if err != nil || reason != want || !snapshot.respondsWithData() {
			x.t.Errorf("%v: %q %v, want %q", to, reason, err, want)
		}
	}
}

// want has the recipients present. It does not wait for the answer.
func (x *lookers) want(notBefore time.Time, recipients ...v1alpha1.Recipient) {
	for _, to := range recipients {
		x.get(x.t.Context(), to, notBefore, x.wantRefusal(to, ""))
	}
}

// wantAlice waits for an answer about alice.
func (x *lookers) wantAlice(notBefore time.Time, refusal string) {
	x.t.Helper()
	x.get(x.t.Context(), toAlice, notBefore, x.wantRefusal(toAlice, refusal))
	x.answers.Wait()
}

// wantError returns a check of the error.
func (x *lookers) wantError(want error) func(DirectorySnapshot, error) {
	return func(_ DirectorySnapshot, err error) {
		if !errors.Is(err, want) {
			x.t.Errorf("%v, want %v", err, want)
		}
	}
}

func (x *lookers) wantBatches(want ...int) {
	x.t.Helper()
	synctest.Wait()
	if got := x.library.batches(); !slices.Equal(got, want) {
		x.t.Errorf("batches of %v users, want %v", got, want)
	}
}

// userRange returns n users who exist, with ids from 1000.
func (l *library) userRange(n uint32) (users []v1alpha1.Recipient) {
	for id := 1000; id < 1000+int(n); id++ {
		l.users[uint32(id)] = true
		users = append(users, user(uint32(id)))
	}
	return users
}

// TestAskedTogether: lookups at one time share a batch. Those while one is under way share the next. No user is asked
// for twice.
func TestAskedTogether(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		users := x.library.userRange(450)
		x.want(x.long, users...)
		x.want(x.long, users...)
		synctest.Wait()
		x.want(x.long, toAlice)
		x.answers.Wait()
		asked := x.library.batches()
		total := 0
		for _, n := range asked {
			total += n
		}
		// The first one goes with those that are there by chance.
		if len(asked) < 3 || len(asked) > 4 || slices.Max(asked) > maxUsersPerRequest || total != 451 {
			t.Errorf("batches of %v users", asked)
		}
		x.want(x.long, users[449])
		x.answers.Wait()
		x.wantBatches(asked...)
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
			t.Errorf("%d batches", n)
		}
		h.wantCounts(6, 6, 6)
	})
}

// TestCacheExpires: a user is assumed to exist for directoryTTL, never after a later notBefore, and is forgotten then.
func TestCacheExpires(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.wantAlice(time.Now(), "")
		advance(directoryTTL - time.Second)
		x.wantAlice(time.Now().Add(-directoryTTL), "")
		x.wantBatches(1)
		x.wantAlice(time.Now(), "")
		x.wantBatches(1, 1)
		advance(directoryTTL + time.Second)
		x.wantAlice(time.Now().Add(-directoryTTL), "")
		x.wantBatches(1, 1, 1)
		advance(3 * directoryTTL)
		x.want(time.Now(), user(bob))
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

// TestMissingIsNotKept: a user that is missing is asked for each time, is no longer assumed to exist, and is found
// when it is back.
func TestMissingIsNotKept(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.wantAlice(x.long, "")
		delete(x.library.users, alice)
		x.wantAlice(x.long, "") // assumed
		x.wantAlice(time.Now(), v1alpha1.ReasonRecipientNotFound)
		x.wantAlice(x.long, v1alpha1.ReasonRecipientNotFound)
		x.wantBatches(1, 1, 1)
		x.library.users[alice] = true
		x.wantAlice(x.long, "")
		// A sender that is missing is missing for all recipients.
		delete(x.library.users, bot)
		x.wantAlice(time.Now(), v1alpha1.ReasonSenderNotFound)
		x.wantAlice(x.long, v1alpha1.ReasonSenderNotFound)
		x.wantBatches(1, 1, 1, 1, 1, 1)
		// An outage is no evidence, and does not change the cache.
		x.library.users[bot] = true
		x.wantAlice(time.Now(), "")
		x.library.users = nil
		x.get(x.t.Context(), toAlice, time.Now(), func(snapshot DirectorySnapshot, err error) {
			if err != nil || snapshot.respondsWithData() {
				t.Errorf("%+v %v, want an empty snapshot", snapshot, err)
			}
		})
		x.answers.Wait()
		x.wantAlice(x.long, "")
	})
}

// TestEmptyGroupIsNotKept: membership is assumed where it was seen.
func TestEmptyGroupIsNotKept(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.library.groups[8] = nil
		empty := v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: 8}
		for _, to := range []v1alpha1.Recipient{toGroup, toGroup, empty, empty} {
			x.want(x.long, to)
			x.answers.Wait()
		}
		if n := len(x.library.batches()); n != 3 {
			t.Errorf("%d batches, want one for the first group and two for the empty one", n)
		}
	})
}

// TestViewsAreSeparate: what one session or sender has seen counts for no other.
func TestViewsAreSeparate(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.library.users[2] = true
		session, sender := x.spec(), x.spec()
		session.Server, sender.Sender = &library{talk: x.library.talk}, 2
		for _, spec := range []Task{x.spec(), session, sender} {
			if _, err := x.directory.get(x.t.Context(), spec, toAlice, x.long); err != nil {
				t.Error(err)
			}
		}
		if n := len(x.directory.views); n != 3 {
			t.Errorf("%d views, want one for each", n)
		}
	})
}

// TestLeaving: a lookup that is canceled cancels no other, and the last one cancels its batch.
func TestLeaving(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		first, leave := context.WithCancel(x.t.Context())
		gone := x.wantError(context.Canceled)
		x.library.users[5] = true
		x.want(time.Now(), user(5))
		synctest.Wait()
		// Both by the next batch.
		x.get(first, toAlice, time.Now(), gone)
		x.want(time.Now(), user(bob))
		advance(700 * time.Millisecond)
		x.wantBatches(1, 2)
		// And one that leaves before it is in a batch.
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

// TestLostAnswer: lookups wait for a batch that is not answered no longer than batchPatience.
func TestLostAnswer(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.library.fail = func(n int, _ []uint32) error {
			if n == 0 {
				return dbproxy.ErrNoAnswer
			}
			return nil
		}
		x.get(x.t.Context(), toAlice, time.Now(), x.wantError(dbproxy.ErrNoAnswer))
		synctest.Wait()
		began := time.Now()
		x.get(x.t.Context(), user(bob), began, func(snapshot DirectorySnapshot, err error) {
			x.wantRefusal(user(bob), "")(snapshot, err)
			if took := time.Since(began); took > 2*batchPatience {
				t.Errorf("took %v", took)
			}
		})
		x.answers.Wait()
		x.wantBatches(1, 1)
	})
}

// TestTooLong: a recipient whose answer is too long fails fewer and fewer others.
func TestTooLong(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.library.fail = func(_ int, ids []uint32) error {
			if slices.Contains(ids, alice) {
				return dbproxy.ErrTooLong
			}
			return nil
		}
		users := x.library.userRange(maxUsersPerRequest - 1)
		fewest := int32(maxUsersPerRequest)
		for range maxShrunk + 1 {
			var failed atomic.Int32
			x.get(x.t.Context(), toAlice, time.Now(), func(DirectorySnapshot, error) {})
			for _, to := range users {
				x.get(x.t.Context(), to, time.Now(), func(_ DirectorySnapshot, err error) {
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

// TestFetchDirectory: an answer without users is no evidence that a group is missing.
func TestFetchDirectory(t *testing.T) {
	f := newTalk(t)
	snapshot, err := fetchDirectory(t.Context(), f, bot, []uint32{alice, 99}, []uint32{group, 8})
	if err != nil || len(snapshot.Users) != 2 || len(snapshot.Groups) != 1 || !snapshot.respondsWithData() {
		t.Errorf("%d users, %d groups, %v", len(snapshot.Users), len(snapshot.Groups), err)
	}
	snapshot, err = fetchDirectory(t.Context(), f, bot, nil, []uint32{group})
	if err != nil || snapshot.Users[alice] == nil {
		t.Errorf("%d users beside a group, %v: want a member", len(snapshot.Users), err)
	}
	f.users = nil
	snapshot, err = fetchDirectory(t.Context(), f, bot, []uint32{alice}, []uint32{group})
	if err != nil || snapshot.respondsWithData() || snapshot.Groups != nil {
		t.Errorf("%+v, %v: want no evidence", snapshot, err)
	}
	for _, read := range []string{"users", "groups"} {
		f.fails = failing(read)
		if _, err = fetchDirectory(t.Context(), f, bot, nil, []uint32{group}); !errors.Is(err, dbproxy.ErrNoAnswer) {
			t.Errorf("%s: %v", read, err)
		}
	}
}

// TestSnapshotsExpire: a message that has waited for its conversation asks again.
func TestSnapshotsExpire(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{slow(2 * directoryTTL)}
		h.submit(h.task("first", user(bob)))
		h.submit(h.task("m", toAlice, user(bob)))
		advance(time.Second)
		wantProgress(t, h.first("m"), v1alpha1.StateRouted, "")
		h.talk.change(func() { delete(h.talk.users, bob) })
		wantProgress(t, h.await("m", time.Hour).Recipients[1], v1alpha1.StateFailed, v1alpha1.ReasonRecipientNotFound)
	})
}
