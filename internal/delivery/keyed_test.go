// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// keyed returns a message under a key, as a resource of its own; this term began long ago.
func (h *harness) keyed(uid, text string, to ...v1alpha1.Recipient) Task {
	spec := h.task(uid, to...)
	spec.Identity = Identity{Namespace: "chat", Key: "release"}
	spec.Payload.Data = []byte(text)
	spec.Since = time.Now().Add(-30 * 24 * time.Hour)
	spec.EarlierUntil = time.Now().Add(-time.Hour)
	return spec
}

var eachType = map[string]v1alpha1.Recipient{"user": toAlice, "group": toGroup}

// TestKeyed sends a message with a key once, whatever resource has the key.
func TestKeyed(t *testing.T) {
	type scenario struct {
		to     v1alpha1.Recipient // alice where empty
		change func(*Task)
		before func(*talk)
		want   result
	}
	sentTwice := result{v1alpha1.StateRouted, "", counts{2, 2, 2}}
	routedTwice := result{v1alpha1.StateRouted, v1alpha1.ReasonAdopted, counts{1, 1, 2}}
	runEach(t, map[string]scenario{
		"again":             {want: routedTwice},
		"again, to a group": {to: toGroup, want: routedTwice},
		"with another text": {
			change: func(s *Task) { s.Payload.Data = []byte("another") },
			want:   result{v1alpha1.StateFailed, v1alpha1.ReasonKeyReused, counts{1, 1, 1}},
		},
		"its text is not known yet": {
			change: func(s *Task) { s.Payload, s.PayloadPending = recordedOnly(s.Payload), true }, want: routedTwice,
		},
		"a key that is unique": {
			change: func(s *Task) { s.Identity.Unique, s.EarlierUntil = true, time.Time{} }, want: routedTwice,
		},
		"another key":       {change: func(s *Task) { s.Identity.Key = "another" }, want: sentTwice},
		"another namespace": {change: func(s *Task) { s.Identity.Namespace = "another" }, want: sentTwice},
		"another recipient": {change: func(s *Task) { s.Recipients[0].Recipient = toGroup }, want: sentTwice},
		"without tokens the store cannot tell": {
			change: func(s *Task) {
				tokenless(s)
				s.EarlierUntil = time.Time{}
			},
			want: sentTwice,
		},
		"still on its way into the store": {before: func(f *talk) { f.lag = 3 * time.Second }, want: adopted},
	}, func(h *harness, tc scenario) {
		if tc.to == (v1alpha1.Recipient{}) {
			tc.to = toAlice
		}
		if tc.before != nil {
			tc.before(h.talk)
		}
		// Sent, its resource deleted at once, and another one created.
		h.submit(h.keyed("first", "hello", tc.to))
		h.Forget("first")
		spec := h.keyed("second", "hello", tc.to)
		if tc.change != nil {
			tc.change(&spec)
		}
		h.deliver(spec, time.Minute, tc.want)
	})
}

// TestKeyedAtOnce: a key that nobody can have used lately is no reason to wait.
func TestKeyedAtOnce(t *testing.T) {
	runEach(t, eachType, func(h *harness, to v1alpha1.Recipient) {
		began := time.Now()
		h.submit(h.keyed("m", "hello", to))
		wantProgress(h.t, h.first("m"), v1alpha1.StateRouted, "")
		if took := time.Since(began); took != 0 {
			h.t.Errorf("it took %v", took)
		}
	})
}

// TestKeyedTogether: two resources with one key that have both searched, and both found nothing, are not both sent.
func TestKeyedTogether(t *testing.T) {
	runEach(t, eachType, func(h *harness, to v1alpha1.Recipient) {
		uids := []types.UID{"first", "second", "third"}
		for n, uid := range uids {
			spec := h.keyed(string(uid), "hello", to)
			spec.EarlierUntil = time.Now().Add(10 * time.Second)
			// Each is older than the one before, which lets it go first when both have searched.
			spec.Order.Created = time.Now().Add(-time.Duration(n) * time.Minute)
			h.submit(spec)
		}
		found := 0
		for _, uid := range uids {
			p := h.await(uid, time.Minute).Recipients[0]
			wantProgress(h.t, p, v1alpha1.StateRouted, p.Reason)
			if p.Reason == v1alpha1.ReasonAdopted {
				found++
			}
		}
		if got := h.talk.counts(); got.sends != 1 || got.rows != 1 || found != 2 {
			h.t.Errorf("sent %d times, stored %d, adopted %d", got.sends, got.rows, found)
		}
	})
}

// TestKeyedAfterDoubt: a resource whose send was not answered is deleted, and another one with its key is created:
// nothing is sent before that send can have settled.
func TestKeyedAfterDoubt(t *testing.T) {
	runEach(t, map[string]bool{"stored late": true, "never stored": false}, func(h *harness, stored bool) {
		h.talk.replies = []reply{{store: stored, err: dbproxy.ErrConnectionLost}}
		h.talk.lag = settle + lag - time.Second
		h.submit(h.keyed("first", "hello", toAlice))
		h.Forget("first")
		began := time.Now()
		h.submit(h.keyed("second", "hello", toAlice))
		if stored {
			h.wantEnd("second", time.Minute, adopted)
			return
		}
		h.wantEnd("second", time.Minute, routed(2))
		if took := h.talk.sends[1].at.Sub(began); took < settle+lag {
			h.t.Errorf("sent again after %v", took)
		}
	})
}

// recorded returns the progress of a task as its status shows it, and forgets the task.
func (h *harness) recorded(uid types.UID) Progress {
	p := h.first(uid)
	h.Forget(uid)
	return Progress{State: p.State, Reason: p.Reason, Message: p.Message, DoubtSince: p.DoubtSince}
}

// TestKeyedTakenUp: a search that was in progress when an operator ended is repeated in the same way. A young group
// need not show rows that are older than the message.
func TestKeyedTakenUp(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.fails = failing("list")
		h.submit(h.keyed("m", "hello", toGroup))
		advance(time.Second)
		status := h.recorded("m")
		advance(time.Second)
		h.talk.change(func() { h.talk.fails = nil })
		h.submit(h.task("younger", toGroup))
		again := h.keyed("m", "hello", toGroup)
		again.Order.Created = time.Now().Add(-10 * time.Second)
		recordedAs(status)(&again)
		h.deliver(again, time.Minute, result{v1alpha1.StateRouted, "", counts{2, 2, 2}})
	})
}

// TestKeyedUnproved: a key that cannot be looked for is not sent.
func TestKeyedUnproved(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.fails = failing("list")
		h.deliver(h.keyed("m", "hello", toAlice), 2*InDoubtLimit, failed(v1alpha1.ReasonOutcomeUnknown, 0))
	})
}

// TestKeyedNowhere: a key cannot be searched for where nothing can be sent either. The message fails soon, with the
// reason, and not after an hour of doubt.
func TestKeyedNowhere(t *testing.T) {
	type scenario struct {
		to         v1alpha1.Recipient
		lacking    func(*talk)
		wantReason string
	}
	cases := map[string]scenario{
		"unknown group":    {toGroup, func(f *talk) { f.groups = map[uint32][]uint32{} }, v1alpha1.ReasonGroupNotFound},
		"sender not in it": {toGroup, withMembers(alice), v1alpha1.ReasonSenderNotInGroup},
		"unknown sender":   {toAlice, lacking(bot), v1alpha1.ReasonSenderNotFound},
	}
	// begin submits the message, and returns what makes it possible to send it.
	begin := func(h *harness, tc scenario) (repair func()) {
		users, groups := maps.Clone(h.talk.users), maps.Clone(h.talk.groups)
		tc.lacking(h.talk)
		h.submit(h.keyed("m", "hello", tc.to))
		advance(lag / 2)
		return func() { h.talk.change(func() { h.talk.users, h.talk.groups = users, groups }) }
	}
	t.Run("for good", func(t *testing.T) {
		runEach(t, cases, func(h *harness, tc scenario) {
			began := time.Now()
			begin(h, tc)
			// What TeamTalk says so far, for those who do not wait for more.
			if p := h.first("m"); p.Done() || p.Reason != tc.wantReason {
				h.t.Errorf("%s %s, want %s", p.State, p.Reason, tc.wantReason)
			}
			h.wantEnd("m", time.Minute, failed(tc.wantReason, 0))
			if took := time.Since(began); took < lag {
				h.t.Errorf("it took %v: replicas may lag %v", took, lag)
			}
		})
	})
	t.Run("when it is taken up", func(t *testing.T) {
		runEach(t, cases, func(h *harness, tc scenario) {
			repair := begin(h, tc)
			status := h.recorded("m")
			advance(time.Second)
			repair()
			again := h.keyed("m", "hello", tc.to)
			recordedAs(status)(&again)
			h.deliver(again, time.Minute, routed(1))
		})
	})
	t.Run("at first", func(t *testing.T) {
		runEach(t, cases, func(h *harness, tc scenario) {
			begin(h, tc)()
			h.wantEnd("m", time.Minute, routed(1))
		})
	})
}

// TestKeyedOutage: a directory that shows nobody is no reason to give up, nor to send.
func TestKeyedOutage(t *testing.T) {
	run(t, func(h *harness) {
		users := h.talk.users
		h.talk.users = nil
		h.talk.fails = failing("list")
		h.submit(h.keyed("m", "hello", toAlice))
		advance(10 * time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonSending)
		h.wantCounts(0, 0, 0)
		h.talk.change(func() { h.talk.users, h.talk.fails = users, nil })
		h.wantEnd("m", 5*time.Minute, routed(1))
	})
}

// TestUniqueTwice: a key that was generated for one resource is not searched for, unless this process has sent it.
func TestUniqueTwice(t *testing.T) {
	runEach(t, map[string]reply{"answered": plain, "not answered": lostAfter}, func(h *harness, first reply) {
		h.talk.replies = []reply{first}
		spec := h.keyed("first", "hello", toAlice)
		spec.Identity.Unique, spec.EarlierUntil = true, time.Time{}
		h.talk.fails = failing("list")
		h.submit(spec)
		h.Forget("first")
		h.talk.change(func() { h.talk.fails = nil })
		again := h.keyed("second", "hello", toAlice)
		again.Identity.Unique, again.EarlierUntil = true, time.Time{}
		h.submit(again)
		wantProgress(h.t, h.await("second", time.Minute).Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
		h.wantRows(1)
	})
}

// TestKeyedInYoungGroup: the sender has joined the group again after the message was sent for a resource that is gone. What
// the group shows from before the new resource was created is younger than that message.
func TestKeyedInYoungGroup(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{lostAfter}
		h.submit(h.keyed("first", "hello", toGroup))
		h.Forget("first")
		advance(time.Second)
		h.talk.change(func() { h.talk.joined = uint32(time.Now().Unix()) })
		h.submit(h.task("another", toGroup))
		advance(time.Second)
		h.submit(h.keyed("second", "hello", toGroup))
		advance(time.Minute)
		if p := h.first("second"); p.State != v1alpha1.StateInDoubt {
			t.Errorf("%s %s", p.State, p.Reason)
		}
		h.wantRows(2)
	})
}

// TestKeyedRefused: what another resource with the key may have sent is searched for before anything is said of it.
func TestKeyedRefused(t *testing.T) {
	const exceeded, unknown = v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonOutcomeUnknown
	past := func(s *Task) { s.Policy.Deadline = time.Now().Add(-time.Hour) }
	refuse := func(s *Task) {
		s.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toAlice: {Reason: v1alpha1.ReasonSenderNotPermitted, Message: "no"}}
	}
	unsendable := func(s *Task) { // there is no payload
		s.Payload = Payload{}
		s.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toAlice: {Reason: v1alpha1.ReasonContentTooLong, Message: "long"}}
	}
	type scenario struct {
		change      func(*Task)
		stored      bool
		talk        func(*talk)
		want        result
		wantMessage string
	}
	runEach(t, map[string]scenario{
		"after its deadline, stored":     {change: past, stored: true, want: found},
		"after its deadline, not stored": {change: past, want: failed(exceeded, 0), wantMessage: MsgDeadline},
		"after its deadline, db_proxy is away": {
			change: past, talk: disconnected, want: failed(unknown, 0), wantMessage: msgDeadlineUnasked,
		},
		"its user is gone, stored, searches are not answered for a while": {
			stored: true, talk: all(lacking(alice), silentUntil(10*time.Second)), want: found,
		},
		"its sender is gone, stored, searches are not answered for a while": {
			stored: true, talk: all(lacking(bot), silentUntil(10*time.Second)), want: found,
		},
		"not permitted, stored":     {change: refuse, stored: true, want: found},
		"not permitted, not stored": {change: refuse, want: failed(v1alpha1.ReasonSenderNotPermitted, 0), wantMessage: "no"},
		"cannot be sent, another text is stored": {
			change: unsendable, stored: true, want: result{v1alpha1.StateFailed, v1alpha1.ReasonKeyReused, counts{rows: 1}},
		},
		"cannot be sent, not stored": {change: unsendable, want: failed(v1alpha1.ReasonContentTooLong, 0), wantMessage: "long"},
		"not permitted, scheduled": {
			change: func(s *Task) {
				refuse(s)
				s.Policy.NotBefore = time.Now().Add(time.Hour)
			},
			want: failed(v1alpha1.ReasonSenderNotPermitted, 0), wantMessage: "no",
		},
	}, func(h *harness, tc scenario) {
		spec := h.keyed("m", "hello", toAlice)
		if tc.stored {
			h.store(spec)
		}
		if tc.talk != nil {
			tc.talk(h.talk)
		}
		if tc.change != nil {
			tc.change(&spec)
		}
		if p := h.deliver(spec, time.Minute, tc.want); tc.wantMessage != "" && p.Message != tc.wantMessage {
			h.t.Errorf("%s", p.Message)
		}
	})
}

// silentUntil has lists not answered for a time.
func silentUntil(d time.Duration) func(*talk) {
	return func(f *talk) {
		end := time.Now().Add(d)
		f.fails = func(read string) error {
			if read == "list" && time.Now().Before(end) {
				return dbproxy.ErrNoAnswer
			}
			return nil
		}
	}
}

// TestAttemptsAreForgotten: what is long settled is not remembered for ever.
func TestAttemptsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newKeyedAttempts()
		var last cipher.Token
		for n := range uint32(100) {
			last = DeliveryID{Identity: Identity{UID: "m"}, Segment: n}.Token()
			release, ok := a.claim(last, time.Now())
			if !ok {
				t.Fatal("not claimed")
			}
			release(true)
			time.Sleep(time.Minute) // of the bubble
		}
		if n := a.sent.Len(); n > 25 || len(a.claimed) != 0 {
			t.Errorf("%d are remembered, %d claimed", n, len(a.claimed))
		}
		if at, ok := a.latest(last); !ok || time.Since(at.last) != time.Minute {
			t.Errorf("the last one was at %v", at.last)
		}
	})
}

// TestClaim: what has been sent since the store was asked needs another question;
// what was not sent leaves no trace.
func TestClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, token := newKeyedAttempts(), DeliveryID{Identity: Identity{UID: "m"}}.Token()
		claim := func(askedAt time.Time, want, sent bool) {
			t.Helper()
			release, ok := a.claim(token, askedAt)
			if ok != want {
				t.Errorf("claimed: %v, want %v", ok, want)
			}
			if ok {
				time.Sleep(time.Second) // of the bubble
				release(sent)
			}
		}
		claim(time.Now(), true, false)
		if _, ok := a.latest(token); ok {
			t.Error("what was not sent is remembered")
		}
		asked := time.Now()
		claim(asked, true, true)
		claim(asked, false, false)
		first, _ := a.latest(token)
		time.Sleep(time.Second)
		claim(time.Now(), true, false)
		if at, ok := a.latest(token); !ok || at != first {
			t.Errorf("sent at %v, want %v as before", at, first)
		}
		// While one is being sent no other one leaves.
		release, ok := a.claim(token, time.Now())
		if !ok {
			t.Fatal("not claimed")
		}
		claim(time.Now(), false, false)
		release(true)
	})
}

// TestKeyedInBusyConversation looks for a key among many rows, found or not.
func TestKeyedInBusyConversation(t *testing.T) {
	type scenario struct {
		rows, size int
		sent       bool
		wantState  v1alpha1.RecipientState
		wantReason string
		wantSends  int
	}
	runEach(t, map[string]scenario{
		"found at its end": {rows: 20_000, size: 1, sent: true, wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted},
		"not in it":        {rows: 20_000, size: 1, wantState: v1alpha1.StateRouted, wantSends: 1},
		"too many rows":    {rows: 70_000, size: 1, wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown},
		"too long rows":    {rows: 20_000, size: 2000, wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown},
	}, func(h *harness, tc scenario) {
		spec := h.keyed("m", "hello", toAlice)
		if tc.sent {
			h.store(spec)
		}
		// Rows of another sender: their contents do not matter.
		m := dbproxy.Message{From: alice, To: bot, CreateTime: uint32(time.Now().Unix()), Type: text, Data: make([]byte, tc.size)}
		for n := range tc.rows {
			h.talk.keep(uint32(1000+n), m, time.Now())
		}
		spec.Policy.Deadline = time.Now().Add(time.Minute)
		h.submit(spec)
		wantProgress(h.t, h.await("m", 2*time.Minute).Recipients[0], tc.wantState, tc.wantReason)
		if sends := h.talk.counts().sends; sends != tc.wantSends {
			h.t.Errorf("sent %d times, want %d", sends, tc.wantSends)
		}
	})
}
