// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// chatter has alice say something to the bot, so many times.
func (f *talk) chatter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := dbproxy.Message{From: alice, To: bot, Type: text, Data: f.keys.Current.Encrypt([]byte("x"))}
	m.CreateTime = uint32(time.Now().Unix())
	for i := range n {
		f.keep(uint32(5000+i), m, time.Now())
	}
}

// wantRows checks how many rows the store has.
func (h *harness) wantRows(want int) {
	h.t.Helper()
	if got := h.talk.counts(); got.rows != want {
		h.t.Errorf("sent %d times, stored %d times, want %d", got.sends, got.rows, want)
	}
}

// TestOwnMessageIsOlderThanTheWindow: how far back others' messages are looked for
// does not bound the search for a message's own.
func TestOwnMessageIsOlderThanTheWindow(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.keyed("m", "hello", toAlice)
		h.submit(spec)
		h.await("m", time.Minute)
		h.Forget("m")
		advance(24 * time.Hour)
		h.talk.chatter(20)
		advance(2 * time.Hour)
		h.talk.chatter(1)
		spec.Since = time.Now().Add(-time.Hour)
		h.submit(spec)
		h.await("m", time.Hour)
		h.wantRows(1 + 21)
	})
}

// TestHiddenAndInherited: where a group's history may hide what an operator before
// has sent, a key is no reason to take it for absent.
func TestHiddenAndInherited(t *testing.T) {
	identities := map[string]Identity{"key": {Namespace: "chat", Key: "k"}, "uid": {UID: "m"}}
	runEach(t, identities, func(h *harness, identity Identity) {
		spec := h.keyed("m", "hello", toGroup)
		spec.Identity = identity
		h.talk.joined = uint32(time.Now().Unix()) + 120
		h.store(spec)
		advance(20 * time.Second)
		takenOver(&spec)
		spec.FromPriorTerm = true
		h.deliver(spec, 3*time.Hour, result{v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown, counts{0, 1, 0}})
	})
}

// TestHiddenAndRecreated: the same, where this process has sent it for a resource that is gone.
func TestHiddenAndRecreated(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{lostAfter}
		spec := h.keyed("m", "hello", toGroup)
		h.talk.joined = uint32(time.Now().Unix()) + 120
		h.submit(spec)
		advance(2 * time.Second)
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		h.Forget("m")
		spec.UID = "n"
		h.submit(spec)
		h.await("n", 3*time.Hour)
		h.wantRows(1)
	})
}

// TestKeyHasTwoOwners: of two resources with one key the second one is not sent, however long the first one backs
// off between its tries, with the second one's question answered meanwhile.
func TestKeyHasTwoOwners(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = slices.Repeat([]reply{rejected}, 6)
		a, b := h.keyed("a", "released", toAlice), h.keyed("b", "released", toAlice)
		a.Policy.RetryLimit, b.Policy.RetryLimit = 20, 20
		b.Order.Created = b.Order.Created.Add(time.Second)
		h.submit(a)
		h.submit(b)
		for _, spec := range []Task{a, b} {
			if p := h.await(spec.UID, time.Hour).Recipients[0]; p.State != v1alpha1.StateRouted {
				t.Errorf("%s: %s %s", spec.UID, p.State, p.Reason)
			}
		}
		h.wantRows(1)
	})
}

// TestKeyIsSentWhileAnotherLooks: the second one has asked, and is held up until the first one has been sent.
func TestKeyIsSentWhileAnotherLooks(t *testing.T) {
	run(t, func(h *harness) {
		down, asked := true, false
		h.talk.fails = func(read string) error {
			asked = asked || read == "list"
			if read == "users" && asked && down {
				return errNotSent
			}
			return nil
		}
		a, b := h.keyed("a", "released", toAlice), h.keyed("b", "released", toAlice)
		b.Order.Created = b.Order.Created.Add(time.Second)
		h.submit(b)
		advance(200 * time.Millisecond)
		h.submit(a)
		advance(200 * time.Millisecond)
		h.talk.change(func() { down = false })
		h.await("a", time.Hour)
		h.await("b", time.Hour)
		h.wantRows(1)
	})
}

// TestNotTakenKeepsItsTurn: a request that a connection did not take must not let
// younger ones pass while there is another.
func TestNotTakenKeepsItsTurn(t *testing.T) {
	for range 50 { // which one comes first is left to chance
		run(t, func(h *harness) {
			h.talk.replies = []reply{{err: errNotSent}}
			for i := range 4 {
				s := h.task(fmt.Sprint("m", i), toAlice)
				s.Order.Created = s.Order.Created.Add(time.Duration(i) * time.Second)
				h.Submit(s)
			}
			advance(5 * time.Second)
			// The first of the sends has not reached db_proxy.
			if order := h.texts(); len(order) != 5 || !slices.IsSorted(order[1:]) {
				t.Errorf("sent in the order %q", order)
			}
		})
	}
}

// TestSentTextChanges: a sent message whose text has changed since is not taken for another one with its key.
func TestSentTextChanges(t *testing.T) {
	reused := result{v1alpha1.StateFailed, v1alpha1.ReasonKeyReused, counts{0, 1, 0}}
	type scenario struct {
		recorded string
		attempts int32
		want     result
	}
	runEach(t, map[string]scenario{
		"not recorded as sent":               {recorded: "as it was", want: found},
		"recorded as sent":                   {recorded: "as it was", attempts: 1, want: found},
		"the row is another resource's":      {recorded: "something else", want: reused},
		"the row is another resource's, too": {recorded: "something else", attempts: 1, want: reused},
	}, func(h *harness, tc scenario) {
		spec := h.keyed("m", "as it was", toAlice)
		h.store(spec)
		spec.Payload, spec.PayloadPending = recordedOnly(Payload{Data: []byte(tc.recorded)}), true
		recordedAs(Progress{State: v1alpha1.StateInDoubt, Reason: v1alpha1.ReasonNoAnswer, Attempts: tc.attempts})(&spec)
		h.deliver(spec, time.Hour, tc.want)
	})
}

// TestKeyReusedAfterFailure: of two resources with one key and different texts, the first fails with nothing stored and
// the second is delivered. The first is not delivered by the second one's text, however it is tried again.
func TestKeyReusedAfterFailure(t *testing.T) {
	reused := result{v1alpha1.StateFailed, v1alpha1.ReasonKeyReused, counts{2, 1, 1}}
	t.Run("retried", func(t *testing.T) {
		run(t, func(h *harness) {
			h.talk.replies = []reply{rejected}
			first := h.keyed("first", "one", toAlice)
			first.Policy.RetryLimit = 0
			h.deliver(first, time.Second, failed(v1alpha1.ReasonRetriesExhausted, 1))
			h.Forget("first")
			h.deliver(h.keyed("second", "two", toAlice), time.Second, routed(2))
			recordedAs(Progress{State: v1alpha1.StatePending, Attempts: 1})(&first)
			if p := h.deliver(first, time.Minute, reused); p.MessageID != 0 || !strings.Contains(p.Message, "message 102 ") {
				t.Errorf("id %d, %s", p.MessageID, p.Message)
			}
		})
	})
	t.Run("after a long backoff", func(t *testing.T) {
		run(t, func(h *harness) {
			h.talk.replies = always(rejected)
			first := h.keyed("first", "one", toAlice)
			first.Policy.RetryLimit = 100
			h.submit(first)
			advance(5 * time.Minute)
			h.talk.change(func() { h.talk.replies = nil })
			h.submit(h.keyed("second", "two", toAlice))
			wantProgress(t, h.await("second", OrderGrace+time.Minute).Recipients[0], v1alpha1.StateRouted, "")
			wantProgress(t, h.await("first", 10*time.Minute).Recipients[0], v1alpha1.StateFailed, v1alpha1.ReasonKeyReused)
			h.wantRows(1)
		})
	})
}

// named returns a message by its name and text, as a resource of its own.
func (h *harness) named(uid, text string) Task {
	spec := h.keyed(uid, text, toAlice)
	spec.Identity = Identity{Namespace: "chat", Name: "m", Text: sha256.Sum256([]byte(text))}
	return spec
}

// TestNamed: a resource that is created again with its name is sent if it has another text.
func TestNamed(t *testing.T) {
	type scenario struct {
		text string
		want result
	}
	runEach(t, map[string]scenario{
		"the same text":         {"one", result{v1alpha1.StateRouted, v1alpha1.ReasonAdopted, counts{2, 2, 3}}},
		"back to an older text": {"two", result{v1alpha1.StateRouted, v1alpha1.ReasonAdopted, counts{2, 2, 3}}},
		"another text":          {"three", result{v1alpha1.StateRouted, "", counts{3, 3, 3}}},
	}, func(h *harness, tc scenario) {
		for _, text := range []string{"two", "one"} {
			h.submit(h.named("first", text))
			wantProgress(h.t, h.first("first"), v1alpha1.StateRouted, "")
			h.Forget("first")
		}
		h.deliver(h.named("second", tc.text), time.Minute, tc.want)
	})
}

// TestNamedTextChanges: the recorded text is proved absent. Then the store is searched for the one that has replaced it.
func TestNamedTextChanges(t *testing.T) {
	type scenario struct {
		stored string
		want   result
	}
	runEach(t, map[string]scenario{
		"the recorded text is stored": {"as it was", found},
		"another resource's is":       {"as it is now", found},
		"none is stored":              {"", routed(1)},
	}, func(h *harness, tc scenario) {
		if tc.stored != "" {
			h.store(h.named("m", tc.stored))
		}
		now := h.named("m", "as it is now")
		recorded := h.named("m", "as it was")
		recorded.Payload, recorded.PayloadPending = recordedOnly(recorded.Payload), true
		takenOver(&recorded)
		recorded.FromPriorTerm = true
		h.submit(recorded)
		for p := h.first("m"); p.State == v1alpha1.StateInDoubt; p = h.first("m") {
			advance(time.Second)
		}
		now.EarlierUntil, now.FromPriorTerm = recorded.EarlierUntil, true
		h.deliver(now, 2*time.Minute, tc.want)
	})
}

// TestOutageEndsNoDoubt: that db_proxy was away for hours does not use up the patience with a doubt.
func TestOutageEndsNoDoubt(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{lostAfter}
		h.talk.fails = failing("list")
		h.submit(h.task("m", toAlice))
		advance(time.Second)
		h.talk.change(func() { h.talk.down = true })
		advance(2 * time.Hour)
		asked := 0
		h.talk.change(func() {
			h.talk.down = false
			h.talk.fails = func(read string) error {
				if read == "list" {
					asked++
				}
				if asked < 3 {
					return failing("list")(read)
				}
				return nil
			}
		})
		h.wantEnd("m", time.Hour, result{v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted, counts{1, 1, 0}})
	})
}

// TestNotBefore: what an earlier operator may have sent is searched for, and is not sent before its time.
func TestNotBefore(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		takenOver(&spec)
		spec.FromPriorTerm = true
		spec.Policy.NotBefore = time.Now().Add(time.Hour)
		h.submit(spec)
		advance(59 * time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StatePending, "")
		h.wantRows(0)
		advance(2 * time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StateRouted, "")
		h.wantRows(1)
	})
}
