// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestOneConversationInOrder(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = always(slow(time.Second))
		now := time.Now()
		for _, m := range []struct {
			name string
			age  time.Duration
		}{{"first", 0}, {"c", 3 * time.Second}, {"b", 4 * time.Second}, {"a", 5 * time.Second}} {
			spec := h.task(m.name, toAlice)
			spec.Order.Created = now.Add(-m.age)
			h.submit(spec)
		}
		h.await("c", 5*time.Second)
		h.wantTexts("hello first", "hello a", "hello b", "hello c")
		if h.talk.maxAll != 1 {
			t.Errorf("%d at once", h.talk.maxAll)
		}
	})
}

// TestOrderAfterWaiting: messages that wake up together leave in order, too.
func TestOrderAfterWaiting(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.down = true
		now := time.Now()
		var want []string
		for i := range 20 {
			name := fmt.Sprintf("%02d", i)
			want = append(want, "hello "+name)
			spec := h.task(name, toAlice)
			spec.Order.Created = now.Add(time.Duration(i) * time.Second)
			h.submit(spec)
		}
		advance(time.Minute)
		h.talk.change(func() { h.talk.down = false })
		h.await("19", time.Minute)
		h.wantTexts(want...)
	})
}

// TestOlderIsFirstAfterWaiting: a message that waits in its conversation lets an older one go first that waits no more.
func TestOlderIsFirstAfterWaiting(t *testing.T) {
	run(t, func(h *harness) {
		older, younger := h.task("older", toAlice), h.task("younger", toAlice)
		younger.Order.Created = older.Order.Created.Add(time.Second)
		takenOver(&older)
		younger.EarlierUntil = older.EarlierUntil.Add(20 * time.Second)
		h.submit(older)
		h.submit(younger)
		h.wantEnd("older", PeerPatience+settle+lag+time.Second, routed(1))
		h.await("younger", 20*time.Second)
		h.wantTexts("hello older", "hello younger")
	})
}

// hesitant is a TeamTalk whose directory takes a second.
type hesitant struct{ *talk }

func (s hesitant) Path() (dbproxy.Reads, func(), error) { return s, func() {}, nil }

func (s hesitant) Users(ctx context.Context, user uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	<-time.After(time.Second)
	return s.talk.Users(ctx, user, ids)
}

// TestOvertaken: an older message that becomes known before anything is sent goes first.
func TestOvertaken(t *testing.T) {
	run(t, func(h *harness) {
		younger, older := h.task("younger", toAlice), h.task("older", toAlice)
		younger.Server, older.Server = hesitant{h.talk}, hesitant{h.talk}
		younger.Order.Created = older.Order.Created.Add(time.Second)
		h.submit(younger)
		h.submit(older)
		h.await("younger", 5*time.Second)
		h.wantTexts("hello older", "hello younger")
	})
}

func TestConversationsInParallel(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = always(slow(time.Second))
		began := time.Now()
		h.submit(h.task("m", toAlice, user(bob), toGroup))
		s := h.await("m", time.Second)
		if took := time.Since(began); took > 2*time.Second || h.talk.maxAll != 3 {
			t.Errorf("took %v, %d at once", took, h.talk.maxAll)
		}
		for _, p := range s.Recipients {
			wantProgress(t, p, v1alpha1.StateRouted, "")
		}
	})
}

// TestHoldsSuccessors: no successor passes a recipient that waits, and after a while all do.
func TestHoldsSuccessors(t *testing.T) {
	type scenario struct {
		first  func(*talk)
		within time.Duration
	}
	tooLong := func(read string) error {
		if read == "list" {
			return dbproxy.ErrTooLong
		}
		return nil
	}
	runEach(t, map[string]scenario{
		"in doubt":    {all(replying(lostBefore), func(f *talk) { f.fails = tooLong }), clientTimeout + OrderGrace},
		"backing off": {replying(slices.Repeat([]reply{rejected}, 6)...), OrderGrace},
	}, func(h *harness, tc scenario) {
		tc.first(h.talk)
		one, two := h.task("one", toAlice), h.task("two", toAlice)
		one.Policy.RetryLimit = 50
		two.Order.Created = two.Order.Created.Add(time.Second)
		h.submit(one)
		began := time.Now()
		h.submit(two)
		h.await("two", tc.within)
		h.wantTook(began, 5*time.Second, tc.within)
		if !h.snapshot("one").Running {
			h.t.Error("the first one has ended")
		}
		// Once it has held them back for so long, it never does again.
		advance(time.Minute)
		h.submit(h.task("three", toAlice))
		h.await("three", 3*time.Second)
	})
}

// TestSharedAddresses: servers that share an address share the store, and the order of its conversations, whatever
// other addresses they name.
func TestSharedAddresses(t *testing.T) {
	type scenario struct {
		older, younger, between []string
		wantApart               bool
	}
	runEach(t, map[string]scenario{
		"the same":              {older: []string{"a"}, younger: []string{"a"}},
		"another order":         {older: []string{"a", "b"}, younger: []string{"b", "a"}},
		"an endpoint was added": {older: []string{"a"}, younger: []string{"b", "a"}},
		"one was taken out":     {older: []string{"a", "b"}, younger: []string{"b"}},
		"they overlap":          {older: []string{"a", "b"}, younger: []string{"c", "b"}},
		"by way of a third":     {older: []string{"a"}, younger: []string{"b"}, between: []string{"a", "b"}},
		"they do not":           {older: []string{"a"}, younger: []string{"b"}, wantApart: true},
	}, func(h *harness, tc scenario) {
		// The older one is tried again a moment later.
		h.talk.replies = []reply{rejected}
		through := func(uid string, stores []string, to v1alpha1.Recipient) {
			spec := h.task(uid, to)
			spec.ServerKey.Name = uid
			h.SetAddresses(spec.ServerKey, stores)
			h.submit(spec)
		}
		through("1", tc.older, toAlice)
		if tc.between != nil {
			through("3", tc.between, user(bob))
			h.await("3", 0)
		}
		through("2", tc.younger, toAlice)
		for _, uid := range []types.UID{"1", "2"} {
			wantProgress(h.t, h.await(uid, time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		}
		sent := slices.DeleteFunc(h.texts(), func(s string) bool { return s == "hello 3" })
		want := []string{"hello 1", "hello 1", "hello 2"}
		if tc.wantApart {
			want = []string{"hello 1", "hello 2", "hello 1"}
		}
		if !slices.Equal(sent, want) {
			h.t.Errorf("sent %q, want %q", sent, want)
		}
	})
}

// TestAddressesReplaced: requests may be in flight at the addresses that a server had when its message was submitted, and
// at those that it has now. Servers of either wait for it.
func TestAddressesReplaced(t *testing.T) {
	runEach(t, map[string]string{"the former": "a", "the present": "b"}, func(h *harness, address string) {
		h.talk.replies = []reply{rejected}
		older, younger := h.task("1", toAlice), h.task("2", toAlice)
		younger.ServerKey.Name = "other"
		h.SetAddresses(older.ServerKey, []string{"a"})
		h.SetAddresses(younger.ServerKey, []string{address})
		h.submit(older)
		h.SetAddresses(older.ServerKey, []string{"b"})
		h.submit(younger)
		h.await("1", time.Minute)
		h.await("2", time.Minute)
		h.wantTexts("hello 1", "hello 1", "hello 2")
	})
}
