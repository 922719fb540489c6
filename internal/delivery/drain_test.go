// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// drain starts to drain, and returns where the end of it shows.
func (h *harness) drain(ctx context.Context) <-chan error {
	h.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- h.Drain(ctx) }()
	synctest.Wait()
	return ended
}

// TestDrain drains in the middle of each step.
func TestDrain(t *testing.T) {
	cases := map[string]struct {
		talk func(*talk)
		spec func(*Task)
		// after what time it is drained
		after      time.Duration
		wantState  v1alpha1.RecipientState
		wantReason string
		// sends, rows and routed in the end
		wantSends, wantRows, wantRouted int
		// wantWithin bounds how long the recipient takes to stop.
		wantWithin time.Duration
	}{
		"waiting for the connection": {
			talk:      func(f *talk) { f.down = true },
			wantState: v1alpha1.StatePending, wantReason: v1alpha1.ReasonServerNotReady,
		},
		"backing off": {
			talk:      func(f *talk) { f.replies = always(rejected) },
			wantState: v1alpha1.StatePending, wantReason: v1alpha1.ReasonStoreRejected, wantSends: 1,
		},
		"missing for now": {
			talk:      func(f *talk) { delete(f.users, alice) },
			wantState: v1alpha1.StatePending, wantReason: v1alpha1.ReasonRecipientNotFound,
		},
		"in flight, then stored": {
			talk:      func(f *talk) { f.replies = []reply{slow(3 * time.Second)} },
			after:     time.Second,
			wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1, wantWithin: 2 * time.Second,
		},
		"in flight, then unanswered": {
			talk:      func(f *talk) { f.replies = []reply{lostBefore} },
			after:     time.Second,
			wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantSends: 1, wantWithin: clientTimeout,
		},
		"in flight, then rejected": {
			talk:      func(f *talk) { f.replies = []reply{{id: proto.Uint32(0), takes: 2 * time.Second}} },
			after:     time.Second,
			wantState: v1alpha1.StatePending, wantReason: v1alpha1.ReasonStoreRejected, wantSends: 1, wantWithin: time.Second,
		},
		"in flight, then not in the store": {
			talk:      func(f *talk) { f.replies = []reply{{takes: 2 * time.Second}} },
			after:     time.Second,
			wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantSends: 1, wantWithin: time.Second,
		},
		"in flight, then disconnected": {
			talk: func(f *talk) {
				f.replies = []reply{slow(2 * time.Second)}
				f.fails = func(read string) error {
					if read == "byID" {
						f.down = true
						return errNotSent
					}
					return nil
				}
			},
			after:     time.Second,
			wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantSends: 1, wantRows: 1, wantWithin: time.Second,
		},
		"in doubt": {
			talk:      func(f *talk) { f.replies = []reply{{id: proto.Uint32(wire.MsgIDUnknown)}} },
			after:     time.Second,
			wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantSends: 1,
		},
		"after a takeover": {
			spec:      func(s *Task) { s.EarlierUntil = time.Now().Add(PeerPatience) },
			after:     time.Second,
			wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer,
		},
		"waiting for a router": {
			talk:      func(f *talk) { f.noRouter = true },
			after:     time.Second,
			wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonServerNotReady, wantSends: 1, wantRows: 1,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				if tc.talk != nil {
					tc.talk(h.talk)
				}
				spec := h.task("m", toAlice)
				if tc.spec != nil {
					tc.spec(&spec)
				}
				h.submit(spec)
				advance(tc.after)
				drained := h.drain(h.t.Context())
				// Behind it in the conversation, and elsewhere: none may start any more.
				for _, to := range []v1alpha1.Recipient{toAlice, user(bob)} {
					if _, ok := h.Submit(h.task("n", to)); ok {
						t.Error("a new task was taken on")
					}
				}
				began := time.Now()
				s := h.await("m", time.Minute)
				wantProgress(t, s.Recipients[0], tc.wantState, tc.wantReason)
				if took := time.Since(began); took > tc.wantWithin {
					t.Errorf("stopped after %v", took)
				}
				advance(time.Hour)
				select {
				case err := <-drained:
					h.t.Fatalf("drained before it was recorded: %v", err)
				default:
				}
				if len(h.notes) == 0 || h.notes[len(h.notes)-1].Sub(began) > tc.wantWithin {
					t.Errorf("reported at %v", h.notes)
				}
				// What the controller does with a report: it submits, and records.
				if again, ok := h.Submit(spec); !ok || again.Revision != s.Revision {
					t.Errorf("revision %d, %v, want %d", again.Revision, ok, s.Revision)
				}
				h.record("m")
				if err := <-drained; err != nil {
					t.Errorf("Drain: %v", err)
				}
				h.wantCounts(tc.wantSends, tc.wantRows, tc.wantRouted)
			})
		})
	}
}

func TestDrainGivesUp(t *testing.T) {
	run(t, func(h *harness) {
		h.submit(h.task("m", toAlice))
		ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
		defer cancel()
		if err := h.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v", err)
		}
	})
}

// TestDrainWaitsForForgotten: an object that is gone may still be in flight.
func TestDrainWaitsForForgotten(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{slow(5 * time.Second)}
		h.submit(h.task("m", toAlice))
		h.Forget("m")
		began := time.Now()
		if err := h.Drain(h.t.Context()); err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("drained after %v: %v", time.Since(began), err)
		}
	})
}

// TestStopAndResubmit stops a task at some moment, and takes it up again with
// what was known of it then.
func TestStopAndResubmit(t *testing.T) {
	cases := map[string]struct {
		reply reply
		// idle is how long it stays stopped.
		idle                  time.Duration
		wantWhile             v1alpha1.RecipientState
		wantReason            string
		wantSends, wantRouted int
	}{
		"at once, in flight":         {reply: slow(3 * time.Second), wantWhile: v1alpha1.StatePending, wantSends: 1, wantRouted: 1},
		"later, delivered":           {reply: slow(3 * time.Second), idle: time.Minute, wantWhile: v1alpha1.StateRouted, wantSends: 1, wantRouted: 1},
		"later, in doubt, stored":    {reply: reply{store: true, err: dbproxy.ErrNoAnswer, takes: 3 * time.Second}, idle: time.Minute, wantWhile: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonAdopted, wantSends: 1, wantRouted: 1},
		"later, in doubt, lost":      {reply: lostBefore, idle: time.Minute, wantWhile: v1alpha1.StateInDoubt, wantSends: 2, wantRouted: 1},
		"later, rejected":            {reply: reply{id: proto.Uint32(0), takes: 3 * time.Second}, idle: time.Minute, wantWhile: v1alpha1.StatePending, wantSends: 2, wantRouted: 1},
		"at once, and then rejected": {reply: reply{id: proto.Uint32(0), takes: 3 * time.Second}, wantWhile: v1alpha1.StatePending, wantSends: 2, wantRouted: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				h.talk.replies = []reply{tc.reply}
				spec := h.task("m", toAlice)
				h.submit(spec)
				advance(time.Second)
				stale := h.snapshot("m")
				h.Stop("m")
				if s := h.snapshot("m"); !s.Stopped || !s.Running {
					t.Errorf("stopped %v, running %v", s.Stopped, s.Running)
				}
				if tc.idle > 0 {
					advance(tc.idle)
					if s := h.snapshot("m"); s.Running {
						t.Error("still running")
					}
				}
				if p := h.first("m"); p.State != tc.wantWhile {
					t.Errorf("stopped as %s", p.State)
				}
				spec.Recipients = stale.Recipients
				h.submit(spec)
				s := h.await("m", time.Minute)
				if tc.idle == 0 {
					// It came to its end after it was submitted: its report takes it up again.
					h.submit(spec)
					s = h.await("m", time.Minute)
				}
				wantProgress(t, s.Recipients[0], v1alpha1.StateRouted, tc.wantReason)
				if s.Revision <= stale.Revision {
					t.Errorf("revision %d after %d", s.Revision, stale.Revision)
				}
				h.wantCounts(tc.wantSends, 1, tc.wantRouted)
			})
		})
	}
}

// TestResubmitKeepsSender: what was sent is looked for as who sent it.
func TestResubmitKeepsSender(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{{store: true, err: dbproxy.ErrNoAnswer, takes: time.Second}}
		h.talk.users[2] = true
		spec := h.task("m", toAlice)
		h.submit(spec)
		h.Stop("m")
		h.await("m", 2*time.Second)
		spec.Sender = 2
		h.submit(spec)
		s := h.await("m", time.Minute)
		wantProgress(t, s.Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
		if s.Sender != bot {
			t.Errorf("sender %d", s.Sender)
		}
		h.wantCounts(1, 1, 1)
	})
}

// TestResubmitTakesDecisions: what nothing was sent to may be settled by the one
// who submits.
func TestResubmitTakesDecisions(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.down = true
		spec := h.task("m", toAlice)
		h.submit(spec)
		h.Stop("m")
		h.await("m", time.Second)
		spec.Recipients = h.snapshot("m").Recipients
		p := &spec.Recipients[0]
		p.State, p.Reason, p.Message = v1alpha1.StateFailed, v1alpha1.ReasonContentEmpty, "the text is empty"
		h.submit(spec)
		wantProgress(t, h.first("m"), v1alpha1.StateFailed, v1alpha1.ReasonContentEmpty)
	})
}

// TestStopInQueue: what waits for its turn, or for a time, stops at once.
func TestStopInQueue(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{slow(time.Minute)}
		h.submit(h.task("m", toAlice))
		h.submit(h.task("n", toAlice))
		h.Stop("n")
		if s := h.snapshot("n"); s.Running || !s.Stopped {
			t.Errorf("running %v, stopped %v", s.Running, s.Stopped)
		}
		h.await("m", 2*time.Minute)
		h.wantCounts(1, 1, 1)
	})
}

// TestUnrecordedAcrossResubmit: a task that is taken up again still has to be
// recorded, whatever the one before it had been.
func TestUnrecordedAcrossResubmit(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		h.talk.replies = []reply{lostBefore}
		h.submit(spec)
		h.record("m")
		h.Stop("m")
		h.await("m", time.Minute)
		h.submit(spec)
		h.Stop("m")
		h.await("m", time.Minute)
		drained := h.drain(h.t.Context())
		select {
		case err := <-drained:
			h.t.Fatal("drained with a doubt that no status shows", err)
		default:
		}
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		h.record("m")
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}
