package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// partial is a directory some of whose answers are empty.
type partial struct {
	*talk
	empty func() bool
}

func (p partial) Users(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	if p.empty() {
		return map[uint32]*wire.UserInfo{}, nil
	}
	return p.talk.Users(ctx, asker, ids)
}

func TestLooksAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l looks
		taken, fails := 0, error(nil)
		take := func(context.Context) (Look, error) {
			taken++
			return Look{At: time.Now()}, fails
		}
		after := func(ctx context.Context, notBefore time.Time, wantTaken int, wantErr error) {
			t.Helper()
			if _, err := l.after(ctx, notBefore, take); !errors.Is(err, wantErr) || taken != wantTaken {
				t.Errorf("taken %d times, want %d: %v", taken, wantTaken, err)
			}
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		after(cancelled, began, 0, context.Canceled)
		after(t.Context(), began, 1, nil)
		after(t.Context(), began, 1, nil)
		after(cancelled, began, 1, nil)
		advance(time.Second)
		after(t.Context(), began, 1, nil)
		fails = context.DeadlineExceeded
		after(t.Context(), time.Now(), 2, context.DeadlineExceeded)
		fails = nil
		// A look that failed is none.
		after(t.Context(), began, 2, nil)
		after(t.Context(), time.Now(), 3, nil)
	})
}

// TestTakeLook: one empty answer among several makes nobody missing.
func TestTakeLook(t *testing.T) {
	var users []uint32
	f := newTalk(t)
	for id := range uint32(450) {
		users = append(users, 100+id)
		f.users[100+id] = true
	}
	delete(f.users, 549)
	look, err := takeLook(t.Context(), f, bot, users, []uint32{group, 8})
	if err != nil || len(look.Users) != 450 || len(look.Groups) != 1 || !look.alive() {
		t.Errorf("%d users, %d groups, %v", len(look.Users), len(look.Groups), err)
	}
	n := 0
	part := partial{f, func() bool { n++; return n == 2 }}
	look, err = takeLook(t.Context(), part, bot, users, nil)
	if err != nil || look.alive() {
		t.Errorf("%d users, %v: want no evidence", len(look.Users), err)
	}
	f.fails = failing("groups")
	if _, err = takeLook(t.Context(), f, bot, users, []uint32{group}); !errors.Is(err, dbproxy.ErrNoAnswer) {
		t.Errorf("groups: %v", err)
	}
}

// TestLooksAge: who comes to a conversation late asks the directory again.
func TestLooksAge(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{slow(2 * lookLife)}
		h.submit(h.task("first", user(bob)))
		h.submit(h.task("m", toAlice, user(bob)))
		advance(time.Second)
		wantProgress(t, h.first("m"), v1alpha1.StateRouted, "")
		h.talk.change(func() { delete(h.talk.users, bob) })
		wantProgress(t, h.await("m", time.Hour).Recipients[1], v1alpha1.StateFailed, v1alpha1.ReasonRecipientNotFound)
	})
}
