// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// TestSlowRows: a search asks for as many rows as db_proxy answers in time. What it cannot reach, it says.
func TestSlowRows(t *testing.T) {
	const slowRow = 100 * time.Millisecond // a row with audio
	each := func(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }
	behind := func(fast int, d time.Duration) func(int) time.Duration {
		return func(n int) time.Duration {
			if n < fast {
				return 0
			}
			return d
		}
	}
	type scenario struct {
		// newer is how many rows are newer than the message can be.
		newer   int
		rowTime func(int) time.Duration
		want    v1alpha1.RecipientState
		// vain is how many answers may come too late.
		vain int
	}
	runEach(t, map[string]scenario{
		"30 slow rows":             {30, each(slowRow), v1alpha1.StateRouted, 0},
		"100 slow rows":            {100, each(slowRow), v1alpha1.StateFailed, 0},
		"1000 fast rows":           {1000, each(time.Millisecond), v1alpha1.StateRouted, 0},
		"slow ones behind 10":      {35, behind(10, slowRow), v1alpha1.StateRouted, 0},
		"100 slow ones behind 16":  {116, behind(16, slowRow), v1alpha1.StateFailed, 15},
		"slow ones behind 100":     {140, behind(100, slowRow), v1alpha1.StateRouted, 0},
		"rows that take 2 seconds": {30, each(2 * time.Second), v1alpha1.StateFailed, 3},
	}, func(h *harness, tc scenario) {
		spec := h.task("m", toAlice)
		h.talk.chatter(1)
		advance(time.Minute)
		spec.Order.Created = time.Now()
		advance(time.Second)
		h.talk.chatter(tc.newer)
		h.talk.rowTime = tc.rowTime
		takenOver(&spec)
		spec.FromPriorTerm = true
		h.submit(spec)
		p := h.await("m", 2*InDoubtLimit).Recipients[0]
		if p.State != tc.want || p.State == v1alpha1.StateFailed && p.Message != unknownBecause(whyTooSlow) {
			h.t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
		}
		if vain := h.talk.reads["list, unanswered"]; vain > tc.vain {
			h.t.Errorf("%d of %d answers came too late", vain, h.talk.reads["list"])
		}
	})
}

// TestAnswersLost: answers that were lost for another reason than their length do not shorten a search for good.
func TestAnswersLost(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		h.talk.chatter(1)
		advance(time.Minute)
		spec.Order.Created = time.Now()
		advance(time.Second)
		h.talk.chatter(500)
		takenOver(&spec)
		lists := 0
		h.talk.fails = func(read string) error {
			if lists++; read == "list" && lists < 20 {
				return failing("list")(read)
			}
			if read == "list" && lists%2 == 0 && lists < 40 {
				return failing("list")(read)
			}
			return nil
		}
		h.submit(spec)
		wantProgress(t, h.await("m", InDoubtLimit).Recipients[0], v1alpha1.StateRouted, "")
	})
}

// TestKeyIsOlderThanTheWindow: a key is searched for to the beginning of the conversation, as far as one search goes.
func TestKeyIsOlderThanTheWindow(t *testing.T) {
	type scenario struct {
		// newer is how many rows have come since it was sent, inside of the window and before.
		newer int
		size  int
		want  v1alpha1.RecipientState
		sends int
	}
	runEach(t, map[string]scenario{
		"in a quiet conversation": {0, 10, v1alpha1.StateStored, 0},
		"behind many":             {20_000, 10, v1alpha1.StateStored, 0},
		"beyond the limit":        {70_000, 10, v1alpha1.StateRouted, 1}, // the window was searched
	}, func(h *harness, tc scenario) {
		sent := h.keyed("m", "hello", toAlice)
		h.store(sent)
		advance(60 * 24 * time.Hour)
		h.talk.chatter(tc.newer)
		advance(40 * 24 * time.Hour)
		h.submit(h.keyed("n", "hello", toAlice))
		p := h.await("n", 10*time.Minute).Recipients[0]
		if sends := h.talk.counts().sends; p.State != tc.want || sends != tc.sends {
			h.t.Errorf("%s %s (%s), sent %d times", p.State, p.Reason, p.Message, sends)
		}
	})
}

// TestLostKeyBeforeTheWindow: an old row that no key opens hides nothing.
func TestLostKeyBeforeTheWindow(t *testing.T) {
	run(t, func(h *harness) {
		other := h.keyed("m", "hello", toAlice)
		other.Identity.Key = "another"
		h.store(other)
		h.talk.change(func() { h.talk.keys.Current = key(t, 9) })
		advance(60 * 24 * time.Hour)
		h.submit(h.keyed("n", "hello", toAlice))
		wantProgress(t, h.await("n", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
	})
}

// TestDeadlineWaitsForAnswers: after its deadline a message is still searched for until some searches were answered,
// and until it is known what the store must show.
func TestDeadlineWaitsForAnswers(t *testing.T) {
	runEach(t, map[string]func(*harness){
		"recorded rows": func(h *harness) {
			h.Recorded = func(context.Context, func(RecordedRow)) error {
				<-time.After(30 * time.Second)
				return nil
			}
		},
		"a lost answer": func(h *harness) {
			lists := 0
			h.talk.fails = func(read string) error {
				if read == "list" {
					lists++
				}
				if lists == 1 {
					return failing("list")(read)
				}
				return nil
			}
		},
	}, func(h *harness, before func(*harness)) {
		before(h)
		spec := h.keyed("m", "hello", toAlice)
		spec.Policy.Deadline = time.Now().Add(-time.Second)
		h.deliver(spec, 2*time.Minute, failed(v1alpha1.ReasonDeadlineExceeded, 0))
	})
}

// TestNoMemoryChangesNoLimit: an answer that other tenants' answers left no memory for says nothing about a conversation.
func TestNoMemoryChangesNoLimit(t *testing.T) {
	for _, readable := range []uint32{0, scanCount} {
		before := scanLimits{long: 500, slow: 100, silent: 2}
		if after := before.after(t.Context(), dbproxy.ErrNoMemory, readable, 128); after != before {
			t.Errorf("%+v became %+v", before, after)
		}
		if after := before.after(t.Context(), dbproxy.ErrNoAnswer, readable, 128); after == before {
			t.Error("a lost answer does not count")
		}
	}
}

// TestNextSearch: until absence can be proved, a search that takes long is repeated less often, and not when it could
// be under way at that moment.
func TestNextSearch(t *testing.T) {
	proof := base.Add(settle + lag)
	tests := map[string]struct {
		after, took time.Duration // after the attempt
		asked       int32
		want        time.Time
	}{
		"a fast one":                     {time.Second, 10 * time.Millisecond, 3, base.Add(1400 * time.Millisecond)},
		"a slow one":                     {time.Second, time.Second, 1, base.Add(3 * time.Second)},
		"a fast one, shortly before":     {settle + lag - time.Millisecond, 0, 1, proof},
		"a slow one, that would be late": {settle + lag - 4*time.Second, 3 * time.Second, 1, proof},
		"a slow one, after":              {settle + lag, 3 * time.Second, 1, proof.Add(100 * time.Millisecond)},
		"after many before":              {settle + lag, time.Second, 9, proof.Add(time.Second)},
		"after many, and one that failed": {
			settle + lag + 7*time.Second, time.Second, 10, proof.Add(14 * time.Second),
		},
		"after many that failed": {settle + lag + 10*time.Minute, time.Second, 20, proof.Add(11 * time.Minute)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			now := base.Add(tc.after)
			p := recipientState{lastAttempt: base, asked: tc.asked, askedAt: now.Add(-tc.took)}
			if next := p.nextSearch(proof, envAt(now)); !next.Equal(tc.want) {
				t.Errorf("after %v, want %v", next.Sub(base), tc.want.Sub(base))
			}
		})
	}
}
