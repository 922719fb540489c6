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

// TestResume goes on where the status of an earlier process left off, with its
// message in the store.
func TestResume(t *testing.T) {
	cases := map[string]struct {
		state v1alpha1.RecipientState
		// rewritten: the text that the message refers to is another one now.
		rewritten, unclean bool
		age                time.Duration
		wantState          v1alpha1.RecipientState
		wantReason         string
		wantRouted         int
	}{
		"acknowledged":            {state: v1alpha1.StateAcknowledged, wantState: v1alpha1.StateRouted, wantRouted: 1},
		"acknowledged, rewritten": {state: v1alpha1.StateAcknowledged, rewritten: true, wantState: v1alpha1.StateRouted, wantRouted: 1},
		"acknowledged, unclean":   {state: v1alpha1.StateAcknowledged, unclean: true, wantState: v1alpha1.StateRouted, wantRouted: 1},
		"stored":                  {state: v1alpha1.StateStored, wantState: v1alpha1.StateRouted, wantRouted: 1},
		"stored, rewritten":       {state: v1alpha1.StateStored, rewritten: true, wantState: v1alpha1.StateRouted, wantRouted: 1},
		"in doubt":                {state: v1alpha1.StateInDoubt, wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantRouted: 1},
		"in doubt, rewritten":     {state: v1alpha1.StateInDoubt, rewritten: true, wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantRouted: 1},
		"in doubt, long ago":      {state: v1alpha1.StateInDoubt, age: time.Hour, wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonStoredNotRouted},
		"pending, unclean":        {state: v1alpha1.StatePending, unclean: true, wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantRouted: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
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
				spec.Recipients = []Progress{{Recipient: toAlice, State: tc.state, MessageID: 101, Attempts: 1}}
				if tc.rewritten {
					spec.Payload.Data = []byte("something else")
				}
				if tc.unclean {
					spec.EarlierUntil = time.Now().Add(PeerPatience)
				}
				h.submit(spec)
				p := h.await("m", 5*time.Second).Recipients[0]
				wantProgress(t, p, tc.wantState, tc.wantReason)
				h.wantCounts(1, 1, tc.wantRouted)
				if p.MessageID != 101 || p.StoredAt.IsZero() {
					t.Errorf("id %d, stored at %v", p.MessageID, p.StoredAt)
				}
			})
		})
	}
}

// TestKeysReplaced: what was sent under a key that is gone may be any row.
func TestKeysReplaced(t *testing.T) {
	cases := map[string]struct {
		previous   bool
		wantState  v1alpha1.RecipientState
		wantReason string
	}{
		"kept as the previous one": {previous: true, wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted},
		"not kept":                 {wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				r := lostAfter
				r.takes = time.Second
				h.talk.replies = []reply{r}
				h.submit(h.task("m", toAlice))
				h.talk.change(func() {
					before := h.talk.keys.Current
					h.talk.keys = cipher.Keys{Current: key(t, 2)}
					if tc.previous {
						h.talk.keys.Previous = before
					}
				})
				p := h.await("m", 2*InDoubtLimit).Recipients[0]
				wantProgress(t, p, tc.wantState, tc.wantReason)
				if sends, rows, _ := h.talk.counts(); sends != 1 || rows != 1 {
					t.Errorf("sent %d times, stored %d", sends, rows)
				}
			})
		})
	}
}

// TestDirectoryRecovers: neither an outage nor a lagging replica is final.
func TestDirectoryRecovers(t *testing.T) {
	cases := map[string]struct{ before, after func(*talk) }{
		"an outage":     {func(f *talk) { f.users = nil }, func(f *talk) { f.users = map[uint32]bool{bot: true, alice: true} }},
		"a new user":    {func(f *talk) { delete(f.users, alice) }, func(f *talk) { f.users[alice] = true }},
		"no connection": {func(f *talk) { f.down = true }, func(f *talk) { f.down = false }},
		"reads fail":    {func(f *talk) { f.fails = failing("users") }, func(f *talk) { f.fails = nil }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				tc.before(h.talk)
				h.submit(h.task("m", toAlice))
				advance(lag - time.Millisecond)
				if p := h.first("m"); p.State != v1alpha1.StatePending || p.Reason == "" {
					t.Errorf("%s %q", p.State, p.Reason)
				}
				h.talk.change(func() { tc.after(h.talk) })
				wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
				h.wantCounts(1, 1, 1)
			})
		})
	}
}

func TestRouterReturns(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.noRouter = true
		h.submit(h.task("m", toAlice))
		advance(time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StateStored, v1alpha1.ReasonServerNotReady)
		h.talk.change(func() { h.talk.noRouter = false })
		wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.wantCounts(1, 1, 1)
	})
}

// TestTakeoverIsRecorded: a doubt about an earlier operator is not lost by a
// drain that comes before any status shows it.
func TestTakeoverIsRecorded(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		spec.EarlierUntil = time.Now().Add(PeerPatience)
		// It does not come to its first question: another message has the conversation.
		h.talk.replies = []reply{slow(time.Minute)}
		h.submit(h.task("first", toAlice))
		h.submit(spec)
		drained := h.drain(h.t.Context())
		h.await("first", 2*time.Minute)
		h.record("first")
		synctest.Wait()
		select {
		case err := <-drained:
			h.t.Fatal("drained although the status says Pending", err)
		default:
		}
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		h.record("m")
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// TestFlanked: a history that comes back empty proves nothing unless the reads
// before and after it both show the sender.
func TestFlanked(t *testing.T) {
	cases := map[string]struct {
		before, after bool
		want          v1alpha1.RecipientState
	}{
		"alive":            {true, true, v1alpha1.StateRouted},
		"dead before":      {false, true, v1alpha1.StateInDoubt},
		"dead after":       {true, false, v1alpha1.StateInDoubt},
		"dead on each end": {false, false, v1alpha1.StateInDoubt},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				h.talk.replies = []reply{lostBefore}
				// The flanks of one list are read in the same moment, before it and after.
				var listed time.Time
				h.talk.fails = func(read string) error {
					switch {
					case len(h.talk.sends) != 1:
						h.talk.users[bot] = true
					case read == "list":
						listed = time.Now()
					case read == "users" && listed.Equal(time.Now()):
						h.talk.users[bot] = tc.after
					case read == "users":
						h.talk.users[bot] = tc.before
					}
					return nil
				}
				h.submit(h.task("m", toAlice))
				advance(10 * time.Minute)
				if p := h.first("m"); p.State != tc.want {
					t.Errorf("%s %s, want %s", p.State, p.Reason, tc.want)
				}
			})
		})
	}
}

// TestStopKeepsTries: a task that is stopped and submitted again has no more retries
// than another.
func TestStopKeepsTries(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = always(rejected)
		spec := h.task("m", toAlice)
		spec.Policy.RetryLimit = 1
		h.submit(spec)
		h.Stop("m")
		spec.Recipients = h.await("m", time.Second).Recipients
		wantProgress(t, spec.Recipients[0], v1alpha1.StatePending, v1alpha1.ReasonStoreRejected)
		h.submit(spec)
		wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateFailed, v1alpha1.ReasonRetriesExhausted)
		h.wantCounts(2, 0, 0)
	})
}
