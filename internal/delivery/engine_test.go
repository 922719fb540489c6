// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// slow is answered after d.
func slow(d time.Duration) reply { return reply{store: true, takes: d} }

// texts returns what was sent, in order.
func (h *harness) texts() []string {
	h.t.Helper()
	h.talk.mu.Lock()
	defer h.talk.mu.Unlock()
	var texts []string
	for _, s := range h.talk.sends {
		p, err := h.talk.keys.Current.Decrypt(s.Data)
		if err != nil {
			h.t.Fatal(err)
		}
		texts = append(texts, string(p.Text))
	}
	return texts
}

// record records what is known of a task, as a controller does.
func (h *harness) record(uid types.UID) { h.Ack(uid, h.snapshot(uid).Revision) }

func TestWaitsForConnection(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.down = true
		h.submit(h.task("m", toAlice))
		for range 3 {
			advance(time.Hour)
			wantProgress(t, h.first("m"), v1alpha1.StatePending, v1alpha1.ReasonServerNotReady)
		}
		if r := h.snapshot("m").Revision; r > 3 {
			t.Errorf("%d changes while nothing happened", r)
		}
		h.talk.change(func() { h.talk.down = false })
		wantProgress(t, h.await("m", time.Second).Recipients[0], v1alpha1.StateRouted, "")
		h.wantCounts(1, 1, 1)
	})
}

// TestConnectionGoes loses the connection at each step, and gets it back.
func TestConnectionGoes(t *testing.T) {
	cases := map[string]struct {
		replies   []reply
		down      string // the read before which it goes
		wantState v1alpha1.RecipientState
		wantSends int
	}{
		"before the read-back":   {replies: []reply{plain}, down: "byID", wantState: v1alpha1.StateInDoubt, wantSends: 1},
		"before asking":          {replies: []reply{lostAfter}, down: "list", wantState: v1alpha1.StateInDoubt, wantSends: 1},
		"before the first proof": {replies: []reply{lostBefore}, down: "list", wantState: v1alpha1.StateInDoubt, wantSends: 2},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				h.talk.replies = tc.replies
				h.talk.fails = func(read string) error {
					if read == tc.down {
						h.talk.down = true
						return errNotSent
					}
					return nil
				}
				h.submit(h.task("m", toAlice))
				// However long it takes.
				advance(2 * InDoubtLimit)
				wantProgress(t, h.first("m"), tc.wantState, h.first("m").Reason)
				h.talk.change(func() { h.talk.down, h.talk.fails = false, nil })
				p := h.await("m", time.Minute).Recipients[0]
				if !p.Delivered() {
					t.Errorf("%s %s", p.State, p.Reason)
				}
				if sends, rows, _ := h.talk.counts(); sends != tc.wantSends || rows != 1 {
					t.Errorf("sent %d times, stored %d", sends, rows)
				}
			})
		})
	}
}

// gated is a TeamTalk that is connected but takes no request.
type gated struct{ *talk }

func (g gated) Path() (dbproxy.Reads, error) { return g, nil }

func (g gated) Users(context.Context, uint32, []uint32) (map[uint32]*wire.UserInfo, error) {
	return nil, errNotSent
}

// TestServerSwapped: a task goes on with the session that replaces its own.
func TestServerSwapped(t *testing.T) {
	cases := map[string]func(*harness) TeamTalk{
		"while not connected": func(h *harness) TeamTalk { h.talk.down = true; return h.talk },
		"while it takes none": func(h *harness) TeamTalk { return gated{h.talk} },
		"while it has no key": func(h *harness) TeamTalk { h.talk.keys.Current = nil; return h.talk },
	}
	for name, first := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				spec := h.task("m", toAlice)
				spec.Server = first(h)
				h.submit(spec)
				advance(time.Minute)
				wantProgress(t, h.first("m"), v1alpha1.StatePending, v1alpha1.ReasonServerNotReady)
				other := newTalk(t)
				spec.Server, spec.Generation = other, 2
				h.submit(spec)
				s := h.await("m", time.Second)
				wantProgress(t, s.Recipients[0], v1alpha1.StateRouted, "")
				if s.Generation != 2 {
					t.Errorf("generation %d", s.Generation)
				}
				h.wantCounts(0, 0, 0)
				h.talk = other
				h.wantCounts(1, 1, 1)
			})
		})
	}
}

// TestNoBusyLoop: what takes nothing is not pressed.
func TestNoBusyLoop(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		spec.Server = gated{h.talk}
		h.submit(spec)
		advance(10 * time.Second)
		if r := h.snapshot("m").Revision; r > 700 {
			t.Errorf("%d changes in ten seconds", r)
		}
	})
}

func TestNotify(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = always(slow(300 * time.Millisecond))
		var to []v1alpha1.Recipient
		for id := range uint32(8) {
			h.talk.users[20+id] = true
			to = append(to, user(20+id))
		}
		// One after the other: they share no conversation, but their turns differ.
		for i := range to {
			h.talk.replies[i] = slow(time.Duration(i+1) * 700 * time.Millisecond)
		}
		h.submit(h.task("m", to...))
		h.await("m", time.Minute)
		advance(5 * time.Second)
		h.mu.Lock()
		defer h.mu.Unlock()
		for i, at := range h.notes {
			last := i == len(h.notes)-1
			if i > 0 && !last && at.Sub(h.notes[i-1]) < progressInterval {
				t.Errorf("notified at %v, after %v", at, h.notes[i-1])
			}
		}
		if n := len(h.notes); n < 5 || n > 7 {
			t.Errorf("%d notifications in 5.6 s", n)
		}
	})
}

// TestNotifyOfNothing: what is recorded is not reported again while it runs.
func TestNotifyOfNothing(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.down = true
		h.submit(h.task("m", toAlice))
		h.record("m")
		h.Ack("unknown", 7)
		advance(time.Minute)
		if len(h.notes) != 0 {
			t.Errorf("notified at %v", h.notes)
		}
	})
}

func TestUnknown(t *testing.T) {
	run(t, func(h *harness) {
		if _, ok := h.Snapshot("nobody"); ok {
			t.Error("progress of nobody")
		}
		h.Stop("nobody")
		h.Forget("nobody")
		h.Sync(Object{Key: types.NamespacedName{Name: "nobody"}})
		if err := h.Drain(h.t.Context()); err != nil {
			t.Errorf("Drain: %v", err)
		}
		if _, ok := h.Submit(h.task("m", toAlice)); ok {
			t.Error("taken on while draining")
		}
		if _, ok := h.Snapshot("m"); ok {
			t.Error("known although refused")
		}
	})
}

func TestForget(t *testing.T) {
	cases := map[string]struct {
		forget    func(*harness)
		wantKnown bool
	}{
		"by uid":                     {func(h *harness) { h.Forget("m") }, false},
		"gone":                       {func(h *harness) { h.Sync(Object{Key: h.task("m").Key}) }, false},
		"another of its name":        {func(h *harness) { h.Sync(Object{Key: h.task("m").Key, UID: "n"}) }, false},
		"itself":                     {func(h *harness) { h.Sync(Object{Key: h.task("m").Key, UID: "m"}) }, true},
		"finished":                   {func(h *harness) { h.Sync(Object{Key: h.task("m").Key, UID: "m", ResourceVersion: "1", Finished: true}) }, false},
		"another name":               {func(h *harness) { h.Sync(Object{Key: h.task("n").Key}) }, true},
		"another one, long replaced": {func(h *harness) { h.Forget("n") }, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				h.talk.replies = []reply{slow(time.Second)}
				h.submit(h.task("m", toAlice))
				tc.forget(h)
				if _, known := h.Snapshot("m"); known != tc.wantKnown {
					t.Errorf("known: %v", known)
				}
				// What is in flight comes to its end anyway.
				advance(2 * time.Second)
				h.wantCounts(1, 1, 1)
			})
		})
	}
}

// TestForgetLeavesSuccessor: forgetting an object leaves the one that took its
// name alone.
func TestForgetLeavesSuccessor(t *testing.T) {
	run(t, func(h *harness) {
		h.submit(h.task("m", toAlice))
		second := h.task("m", toAlice)
		second.UID = "m2"
		h.submit(second)
		h.Forget("m")
		h.Sync(Object{Key: second.Key, UID: "m2"})
		if _, ok := h.Snapshot("m2"); !ok {
			t.Error("m2 is forgotten")
		}
		h.Sync(Object{Key: second.Key})
		if _, ok := h.Snapshot("m2"); ok {
			t.Error("m2 is still known")
		}
	})
}

func TestStartEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{t: t, talk: newTalk(t), Engine: NewEngine(func(types.NamespacedName) {})}
		h.talk.replies = always(slow(time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Start(ctx) }()
		h.submit(h.task("m", toAlice, user(bob)))
		h.submit(h.task("n", toAlice))
		began := time.Now()
		cancel()
		if err := <-ended; err != nil || time.Since(began) != 0 {
			t.Errorf("ended after %v: %v", time.Since(began), err)
		}
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		wantProgress(t, h.first("n"), v1alpha1.StatePending, "")
		if _, ok := h.Submit(h.task("o", toAlice)); ok {
			t.Error("taken on after the end")
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain with unrecorded progress: %v", err)
		}
	})
}
