// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// TestResume goes on where the status of an earlier process left off, with its message in the store.
func TestResume(t *testing.T) {
	type scenario struct {
		state v1alpha1.RecipientState
		// rewritten: the text that the message refers to is another one now.
		rewritten, unclean bool
		age                time.Duration
		want               result
	}
	late := result{v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted, counts{1, 1, 0}}
	runEach(t, map[string]scenario{
		"acknowledged":            {state: v1alpha1.StateAcknowledged, want: routed(1)},
		"acknowledged, rewritten": {state: v1alpha1.StateAcknowledged, rewritten: true, want: routed(1)},
		"acknowledged, unclean":   {state: v1alpha1.StateAcknowledged, unclean: true, want: routed(1)},
		"stored":                  {state: v1alpha1.StateStored, want: routed(1)},
		"stored, rewritten":       {state: v1alpha1.StateStored, rewritten: true, want: routed(1)},
		"in doubt":                {state: v1alpha1.StateInDoubt, want: adopted},
		"in doubt, rewritten":     {state: v1alpha1.StateInDoubt, rewritten: true, want: adopted},
		"in doubt, long ago":      {state: v1alpha1.StateInDoubt, age: time.Hour, want: late},
		"pending, unclean":        {state: v1alpha1.StatePending, unclean: true, want: adopted},
	}, func(h *harness, tc scenario) {
		spec := h.task("m", toAlice)
		h.talk.replies = []reply{{store: true, err: dbproxy.ErrNoAnswer, takes: time.Second}}
		h.submit(spec)
		h.Stop("m")
		h.await("m", 2*time.Second)
		h.Forget("m")
		h.wantCounts(1, 1, 0)
		if tc.age > 0 {
			advance(tc.age)
		}
		recordedAs(Progress{State: tc.state, MessageID: 101, Attempts: 1})(&spec)
		if tc.rewritten {
			spec.Payload.Data = []byte("something else")
		}
		if tc.unclean {
			takenOver(&spec)
		}
		if p := h.deliver(spec, 5*time.Second, tc.want); p.MessageID != 101 || p.StoredAt.IsZero() {
			h.t.Errorf("id %d, stored at %v", p.MessageID, p.StoredAt)
		}
	})
}

// TestResumeCountsAgain: what an operator before an earlier, clean one has sent may be executed and shown late. The time
// until absence is proved begins again with each operator, so a clean one need not wait for it.
func TestResumeCountsAgain(t *testing.T) {
	const handedOver = 2 * time.Second
	type record struct {
		keyed    bool
		reason   string
		attempts int32
	}
	runEach(t, map[string]record{
		"of the resource":             {false, v1alpha1.ReasonNoAnswer, 1},
		"of its key":                  {true, v1alpha1.ReasonNoAnswer, 1},
		"of its key, while it looked": {true, v1alpha1.ReasonSending, 0},
	}, func(h *harness, tc record) {
		h.talk.replies = []reply{{
			store: true, err: dbproxy.ErrNoAnswer, takes: time.Second, storedAfter: handedOver + settle + lag - time.Second,
		}}
		spec := h.task("m", toAlice)
		if tc.keyed {
			spec.Identity.Key = "incident-7"
		}
		h.submit(spec)
		h.Stop("m")
		h.await("m", handedOver)
		h.Forget("m")
		h.keyedAttempts = newKeyedAttempts() // another process
		advance(handedOver)
		if tc.keyed {
			spec.EarlierUntil = time.Now() // as in a term that began clean
		}
		recordedAs(Progress{State: v1alpha1.StateInDoubt, Reason: tc.reason, Attempts: tc.attempts})(&spec)
		h.deliver(spec, time.Minute, adopted)
	})
}

// TestKeysReplaced: a message that was encrypted with a lost key may be any row.
func TestKeysReplaced(t *testing.T) {
	type rotation struct {
		previous bool
		want     result
	}
	runEach(t, map[string]rotation{
		"kept as the previous one": {true, adopted},
		"not kept":                 {false, result{v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown, counts{1, 1, 0}}},
	}, func(h *harness, tc rotation) {
		h.talk.replies = []reply{{store: true, err: lostAfter.err, takes: time.Second}}
		h.submit(h.task("m", toAlice))
		h.talk.change(func() {
			before := h.talk.keys.Current
			h.talk.keys = cipher.Keys{Current: key(h.t, 2)}
			if tc.previous {
				h.talk.keys.Previous = []*cipher.Cipher{before}
			}
		})
		h.wantEnd("m", 2*InDoubtLimit, tc.want)
	})
}

// TestDirectoryRecovers: neither an outage nor a lagging replica is final.
func TestDirectoryRecovers(t *testing.T) {
	type recovery struct{ before, after func(*talk) }
	runEach(t, map[string]recovery{
		"an outage":     {func(f *talk) { f.users = nil }, func(f *talk) { f.users = map[uint32]bool{bot: true, alice: true} }},
		"a new user":    {lacking(alice), func(f *talk) { f.users[alice] = true }},
		"no connection": {disconnected, func(f *talk) { f.down = false }},
		"reads fail":    {unreadable("users"), func(f *talk) { f.fails = nil }},
	}, func(h *harness, tc recovery) {
		tc.before(h.talk)
		h.submit(h.task("m", toAlice))
		advance(lag - time.Millisecond)
		if p := h.first("m"); p.State != v1alpha1.StatePending || p.Reason == "" {
			h.t.Errorf("%s %q", p.State, p.Reason)
		}
		h.talk.change(func() { tc.after(h.talk) })
		h.wantEnd("m", time.Minute, routed(1))
	})
}

// TestTakeoverIsRecorded: a doubt about an earlier operator is not lost by a
// drain that comes before any status shows it.
func TestTakeoverIsRecorded(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		takenOver(&spec)
		// It does not come to its first question: another message has the conversation.
		h.talk.replies = []reply{slow(time.Minute)}
		h.submit(h.task("first", toAlice))
		h.submit(spec)
		drained := h.drain(h.t.Context())
		h.await("first", 2*time.Minute)
		h.record("first")
		synctest.Wait()
		h.notEnded(drained)
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		h.endsWith(drained, "m")
	})
}

// TestFlanked: where no row is known at all, a history that comes back empty proves nothing unless the reads before
// and after it both show users.
func TestFlanked(t *testing.T) {
	type flanks struct {
		before, after bool
		want          v1alpha1.RecipientState
	}
	runEach(t, map[string]flanks{
		"alive":            {true, true, v1alpha1.StateRouted},
		"dead before":      {false, true, v1alpha1.StateInDoubt},
		"dead after":       {true, false, v1alpha1.StateInDoubt},
		"dead on each end": {false, false, v1alpha1.StateInDoubt},
	}, func(h *harness, tc flanks) {
		h.talk.replies = []reply{lostBefore}
		// All reads of one search are in the same moment: an empty list, users, the list again, and users.
		users := h.talk.users
		var askedAt time.Time
		lists := 0
		h.talk.fails = func(read string) error {
			if !askedAt.Equal(time.Now()) {
				askedAt, lists = time.Now(), 0
			}
			h.talk.users = users
			switch {
			case len(h.talk.sends) != 1:
			case read == "list":
				lists++
			case read == "users" && (lists == 1 && !tc.before || lists == 2 && !tc.after):
				h.talk.users = nil
			}
			return nil
		}
		h.submit(h.task("m", toAlice))
		advance(10 * time.Minute)
		if p := h.first("m"); p.State != tc.want {
			h.t.Errorf("%s %s, want %s", p.State, p.Reason, tc.want)
		}
	})
}

// TestStopKeepsTries: a task that is stopped and submitted again has no more retries than another.
func TestStopKeepsTries(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = always(rejected)
		spec := h.task("m", toAlice)
		spec.Policy.RetryLimit = 1
		h.submit(spec)
		h.Stop("m")
		spec.Recipients = h.await("m", time.Second).Recipients
		wantProgress(t, spec.Recipients[0], v1alpha1.StatePending, v1alpha1.ReasonStoreRejected)
		h.deliver(spec, time.Minute, failed(v1alpha1.ReasonRetriesExhausted, 2))
	})
}
