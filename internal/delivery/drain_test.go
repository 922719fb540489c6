// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"maps"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// Drain is Engine.Drain with unlimited patience.
func (h *harness) Drain(ctx context.Context) (map[types.UID]string, error) {
	return h.Engine.Drain(ctx, math.MaxInt64)
}

// drain starts to drain, and returns where the end of it shows.
func (h *harness) drain(ctx context.Context) <-chan error {
	h.t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := h.Drain(ctx)
		ended <- err
	}()
	synctest.Wait()
	return ended
}

// notEnded fails the test if a drain has ended.
func (h *harness) notEnded(drained <-chan error) {
	h.t.Helper()
	select {
	case err := <-drained:
		h.t.Fatalf("drained before all is recorded: %v", err)
	default:
	}
}

// endsWith records a task, and checks that this ends a drain.
func (h *harness) endsWith(drained <-chan error, uid types.UID) {
	h.t.Helper()
	h.record(uid)
	if err := <-drained; err != nil {
		h.t.Errorf("Drain: %v", err)
	}
}

// TestDrain drains in the middle of each step.
func TestDrain(t *testing.T) {
	pending := func(reason string, sends int) result {
		return result{v1alpha1.StatePending, reason, counts{sends: sends}}
	}
	doubt := func(sends, rows int) result {
		return result{v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer, counts{sends: sends, rows: rows}}
	}
	type scenario struct {
		talk func(*talk)
		spec func(*Task)
		// after is when it is drained; within bounds how long the recipient takes to stop.
		after, within time.Duration
		want          result
	}
	second := time.Second
	runEach(t, map[string]scenario{
		"waiting for the connection": {talk: disconnected, want: pending(v1alpha1.ReasonServerNotReady, 0)},
		"backing off":                {talk: rejecting, want: pending(v1alpha1.ReasonStoreRejected, 1)},
		"missing for now":            {talk: lacking(alice), want: pending(v1alpha1.ReasonRecipientNotFound, 0)},
		"in flight, then stored":     {talk: replying(slow(3 * second)), after: second, within: 2 * second, want: routed(1)},
		"in flight, then unanswered": {talk: replying(lostBefore), after: second, within: clientTimeout, want: doubt(1, 0)},
		"in flight, then rejected": {
			talk: replying(reply{id: rejected.id, takes: 2 * second}), after: second, within: second,
			want: pending(v1alpha1.ReasonStoreRejected, 1),
		},
		"in flight, then not in the store": {talk: replying(reply{takes: 2 * second}), after: second, within: second, want: doubt(1, 0)},
		"in flight, then disconnected": {
			talk: all(replying(slow(2*second)), downAt("byID")), after: second, within: second, want: doubt(1, 1),
		},
		"in doubt":         {talk: replying(counterFailed), after: second, want: doubt(1, 0)},
		"after a takeover": {spec: takenOver, after: second, want: doubt(0, 0)},
		"waiting for a router": {
			talk: noRouter, after: second, want: result{v1alpha1.StateStored, v1alpha1.ReasonServerNotReady, counts{1, 1, 0}},
		},
	}, func(h *harness, tc scenario) {
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
				h.t.Error("a new task was taken on")
			}
		}
		began := time.Now()
		s := h.await("m", time.Minute)
		h.wantEnd("m", 0, tc.want)
		if took := time.Since(began); took > tc.within {
			h.t.Errorf("stopped after %v", took)
		}
		advance(time.Hour)
		h.notEnded(drained)
		if len(h.notes) == 0 || h.notes[len(h.notes)-1].Sub(began) > tc.within {
			h.t.Errorf("reported at %v", h.notes)
		}
		// What the controller does with a report: it submits, and records.
		if again, ok := h.Submit(spec); !ok || again.Revision != s.Revision {
			h.t.Errorf("revision %d, %v, want %d", again.Revision, ok, s.Revision)
		}
		h.endsWith(drained, "m")
		h.wantEnd("m", 0, tc.want)
	})
}

// TestDrainListsRefused: a drain retries records that the API server has refused once, and lists those that are refused
// again. Later changes may be recorded.
func TestDrainListsRefused(t *testing.T) {
	run(t, func(h *harness) {
		const carol = bob + 1
		h.talk.users[carol] = true
		h.submit(h.task("refused", toAlice))
		h.submit(h.task("accepted", user(carol)))
		h.submit(h.task("recorded", user(bob)))
		advance(time.Minute)
		h.record("recorded")
		before, _ := h.Snapshot("refused")
		accepted, _ := h.Snapshot("accepted")
		h.Refused("refused", before.Revision)
		h.Refused("accepted", accepted.Revision)
		if h.AwaitsRecord("refused") {
			t.Error("awaited before the drain")
		}
		h.notes = nil
		drained := h.drain(h.t.Context())
		h.notEnded(drained)
		if len(h.notes) != 2 || !h.AwaitsRecord("refused") || h.AwaitsRecord("recorded") {
			t.Errorf("%d are tried again, awaited: %v", len(h.notes), h.AwaitsRecord("refused"))
		}
		h.record("accepted")
		h.Refused("refused", before.Revision-1)
		h.notEnded(drained)
		h.Refused("refused", before.Revision)
		if err := <-drained; err != nil || h.AwaitsRecord("refused") {
			t.Fatal(err)
		}
		want := map[types.UID]string{"refused": h.task("refused").Key.Namespace}
		if unrecorded, err := h.Drain(h.t.Context()); err != nil || !maps.Equal(unrecorded, want) {
			t.Errorf("unrecorded %v: %v", unrecorded, err)
		}
		h.record("refused")
		if unrecorded, err := h.Drain(h.t.Context()); err != nil || len(unrecorded) > 0 {
			t.Errorf("unrecorded %v after it was recorded: %v", unrecorded, err)
		}
	})
}

// TestDrainPatience: a drain lists messages that are answered and not recorded in time, for any reason. After that,
// nothing is recorded any more.
func TestDrainPatience(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{slow(3 * time.Second)}
		h.submit(h.task("m", toAlice))
		end, ok := h.TrackReconcile("m")
		if !ok {
			t.Fatal("no reconcile")
		}
		began := time.Now()
		time.AfterFunc(5*time.Second, end)
		unrecorded, err := h.Engine.Drain(h.t.Context(), time.Second)
		if _, listed := unrecorded["m"]; err != nil || !listed || time.Since(began) != 5*time.Second {
			t.Errorf("unrecorded %v after %v: %v", unrecorded, time.Since(began), err)
		}
		if _, ok := h.TrackReconcile("m"); ok {
			t.Error("it may be recorded after the drain")
		}
	})
}

// TestRefuseUnderWay: a task under way can be refused. Earlier sends are settled, and nothing more is sent.
func TestRefuseUnderWay(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{slow(5 * time.Second)}
		spec := h.task("m", toAlice)
		waiting := h.task("n", toAlice)
		h.submit(spec)
		h.submit(waiting)
		advance(time.Second)
		waiting.Renewal = true
		waiting.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toAlice: {Reason: v1alpha1.ReasonStatusTooLarge, Message: "large"}}
		h.submit(waiting)
		advance(time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StateRouted, "")
		wantProgress(t, h.first("n"), v1alpha1.StateFailed, v1alpha1.ReasonStatusTooLarge)
	})
}

// TestDrainWaitsForForgotten: an object that is gone may still be in flight.
func TestDrainWaitsForForgotten(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{slow(5 * time.Second)}
		h.submit(h.task("m", toAlice))
		h.Forget("m")
		began := time.Now()
		if _, err := h.Drain(h.t.Context()); err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("drained after %v: %v", time.Since(began), err)
		}
	})
}

// TestStopAndResubmit stops a task at some moment, and submits it again with its progress at that time.
func TestStopAndResubmit(t *testing.T) {
	type scenario struct {
		reply reply
		// idle is how long it stays stopped.
		idle      time.Duration
		wantWhile v1alpha1.RecipientState
		want      result
	}
	slowly := func(r reply) reply {
		r.takes = 3 * time.Second
		return r
	}
	runEach(t, map[string]scenario{
		"at once, in flight":         {slowly(plain), 0, v1alpha1.StatePending, routed(1)},
		"later, delivered":           {slowly(plain), time.Minute, v1alpha1.StateRouted, routed(1)},
		"later, in doubt, stored":    {slowly(lostAfter), time.Minute, v1alpha1.StateInDoubt, adopted},
		"later, in doubt, lost":      {lostBefore, time.Minute, v1alpha1.StateInDoubt, routed(2)},
		"later, rejected":            {slowly(rejected), time.Minute, v1alpha1.StatePending, routed(2)},
		"at once, and then rejected": {slowly(rejected), 0, v1alpha1.StatePending, routed(2)},
	}, func(h *harness, tc scenario) {
		h.talk.replies = []reply{tc.reply}
		spec := h.task("m", toAlice)
		h.submit(spec)
		advance(time.Second)
		stale := h.snapshot("m")
		h.Stop("m")
		if s := h.snapshot("m"); !s.Stopped || !s.Running {
			h.t.Errorf("stopped %v, running %v", s.Stopped, s.Running)
		}
		if tc.idle > 0 {
			advance(tc.idle)
		}
		if s := h.snapshot("m"); s.Running != (tc.idle == 0) || s.Recipients[0].State != tc.wantWhile {
			h.t.Errorf("running %v, stopped as %s", s.Running, s.Recipients[0].State)
		}
		spec.Recipients = stale.Recipients
		h.submit(spec)
		if tc.idle == 0 {
			// It comes to its end after it was submitted: its report takes it up again.
			h.await("m", time.Minute)
			h.submit(spec)
		}
		h.wantEnd("m", time.Minute, tc.want)
		if s := h.snapshot("m"); s.Revision <= stale.Revision {
			h.t.Errorf("revision %d after %d", s.Revision, stale.Revision)
		}
	})
}

// TestResubmitKeepsSender: earlier sends are searched for as their sender.
func TestResubmitKeepsSender(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{{store: true, err: dbproxy.ErrNoAnswer, takes: time.Second}}
		h.talk.users[2] = true
		spec := h.task("m", toAlice)
		h.submit(spec)
		h.Stop("m")
		h.await("m", 2*time.Second)
		spec.Sender = 2
		h.deliver(spec, time.Minute, adopted)
		if s := h.snapshot("m"); s.Sender != bot {
			t.Errorf("sender %d", s.Sender)
		}
	})
}

// TestResubmitTakesDecisions: what nothing was sent to may be settled by the one who submits.
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
		h.notEnded(drained)
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		h.endsWith(drained, "m")
	})
}
