// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestOneConversationInOrder(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{slow(time.Second), slow(time.Second), slow(time.Second), slow(time.Second)}
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
		if got, want := h.texts(), []string{"hello first", "hello a", "hello b", "hello c"}; !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
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
		if got := h.texts(); !slices.Equal(got, want) {
			t.Errorf("sent %q", got)
		}
	})
}

// hesitant is a TeamTalk whose directory takes a second.
type hesitant struct{ *talk }

func (s hesitant) Path() (dbproxy.Reads, error) { return s, nil }

func (s hesitant) Users(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	<-time.After(time.Second)
	return s.talk.Users(ctx, asker, ids)
}

// TestOvertaken: an older message that becomes known before anything is sent
// goes first.
func TestOvertaken(t *testing.T) {
	run(t, func(h *harness) {
		younger, older := h.task("younger", toAlice), h.task("older", toAlice)
		younger.Server, older.Server = hesitant{h.talk}, hesitant{h.talk}
		younger.Order.Created = older.Order.Created.Add(time.Second)
		h.submit(younger)
		h.submit(older)
		h.await("younger", 5*time.Second)
		if got, want := h.texts(), []string{"hello older", "hello younger"}; !slices.Equal(got, want) {
			t.Errorf("sent %q", got)
		}
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

// TestHoldsSuccessors: what waits is followed at once by nobody, and after a
// while by everybody.
func TestHoldsSuccessors(t *testing.T) {
	cases := map[string]struct {
		first  func(*talk)
		within time.Duration
	}{
		"in doubt": {func(f *talk) {
			f.replies = []reply{lostBefore}
			f.fails = func(read string) error {
				if read == "list" {
					return dbproxy.ErrTooLong
				}
				return nil
			}
		}, clientTimeout + OrderGrace},
		"backing off": {func(f *talk) { f.replies = slices.Repeat([]reply{rejected}, 6) }, OrderGrace},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				tc.first(h.talk)
				one := h.task("one", toAlice)
				one.Policy.RetryLimit = 50
				h.submit(one)
				two := h.task("two", toAlice)
				two.Order.Created = two.Order.Created.Add(time.Second)
				began := time.Now()
				h.submit(two)
				h.await("two", tc.within)
				at := time.Since(began)
				if at < 5*time.Second || at > tc.within+time.Second {
					t.Errorf("held for %v", at)
				}
				if !h.snapshot("one").Running {
					t.Error("the first one has ended")
				}
				// Once it has held them back for so long, it never does again.
				advance(time.Minute)
				three := h.task("three", toAlice)
				h.submit(three)
				h.await("three", 3*time.Second)
			})
		})
	}
}
