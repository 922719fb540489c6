// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// keyed returns a message under a key, as a resource of its own; this term began
// long ago.
func (h *harness) keyed(uid, text string, to ...v1alpha1.Recipient) Task {
	spec := h.task(uid, to...)
	spec.Identity = Identity{Namespace: "chat", Key: "release"}
	spec.Payload.Data = []byte(text)
	spec.Since = time.Now().Add(-30 * 24 * time.Hour)
	spec.EarlierUntil = time.Now().Add(-time.Hour)
	return spec
}

// TestKeyed sends a message with a key once, whatever resource has the key.
func TestKeyed(t *testing.T) {
	other := toGroup
	cases := map[string]struct {
		// to is alice where it is empty.
		to         v1alpha1.Recipient
		change     func(*Task)
		before     func(*talk)
		wantState  v1alpha1.RecipientState
		wantReason string
		wantSends  int
		wantAfter  time.Duration
	}{
		"again":             {wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantSends: 1},
		"again, to a group": {to: toGroup, wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantSends: 1},
		"with another text": {
			change:    func(s *Task) { s.Payload.Data = []byte("another") },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonKeyReused, wantSends: 1,
		},
		"its text is not known yet": {
			change:    func(s *Task) { s.Payload, s.PayloadPending = Payload{}, true },
			wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantSends: 1,
		},
		"another key": {
			change:    func(s *Task) { s.Identity.Key = "another" },
			wantState: v1alpha1.StateRouted, wantSends: 2,
		},
		"another namespace": {
			change:    func(s *Task) { s.Identity.Namespace = "another" },
			wantState: v1alpha1.StateRouted, wantSends: 2,
		},
		"another recipient": {
			change:    func(s *Task) { s.Recipients[0].Recipient = other },
			wantState: v1alpha1.StateRouted, wantSends: 2,
		},
		"without tokens the store cannot tell": {
			change: func(s *Task) {
				s.Token, s.Recipients[0].CreateTime, s.EarlierUntil = false, uint32(time.Now().Unix()), time.Time{}
			},
			wantState: v1alpha1.StateRouted, wantSends: 2,
		},
		"still on its way into the store": {
			before:    func(f *talk) { f.lag = 3 * time.Second },
			wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantSends: 1,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				to := tc.to
				if to == (v1alpha1.Recipient{}) {
					to = toAlice
				}
				if tc.before != nil {
					tc.before(h.talk)
				}
				// Sent, its resource deleted at once, and another one created.
				h.submit(h.keyed("first", "hello", to))
				h.Forget("first")
				spec := h.keyed("second", "hello", to)
				if tc.change != nil {
					tc.change(&spec)
				}
				h.submit(spec)
				p := h.await("second", time.Minute).Recipients[0]
				wantProgress(t, p, tc.wantState, tc.wantReason)
				if sends, rows, _ := h.talk.counts(); sends != tc.wantSends || rows != tc.wantSends {
					t.Errorf("sent %d times, stored %d, want %d", sends, rows, tc.wantSends)
				}
			})
		})
	}
}

// TestKeyedAtOnce: a key that nobody can have used lately is no reason to wait.
func TestKeyedAtOnce(t *testing.T) {
	for name, to := range map[string]v1alpha1.Recipient{"user": toAlice, "group": toGroup} {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				began := time.Now()
				h.submit(h.keyed("m", "hello", to))
				wantProgress(t, h.first("m"), v1alpha1.StateRouted, "")
				if took := time.Since(began); took != 0 {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// TestKeyedTogether: two resources with one key that have both asked, and both been
// told that nothing is there, are not both sent.
func TestKeyedTogether(t *testing.T) {
	for name, to := range map[string]v1alpha1.Recipient{"user": toAlice, "group": toGroup} {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				uids := []string{"first", "second", "third"}
				for n, uid := range uids {
					spec := h.keyed(uid, "hello", to)
					spec.EarlierUntil = time.Now().Add(10 * time.Second)
					// Each is older than the one before, which lets it go first when both have asked.
					spec.Order.Created = time.Now().Add(-time.Duration(n) * time.Minute)
					h.submit(spec)
				}
				adopted := 0
				for _, uid := range uids {
					p := h.await(types.UID(uid), time.Minute).Recipients[0]
					wantProgress(t, p, v1alpha1.StateRouted, p.Reason)
					if p.Reason == v1alpha1.ReasonAdopted {
						adopted++
					}
				}
				if sends, rows, _ := h.talk.counts(); sends != 1 || rows != 1 || adopted != 2 {
					t.Errorf("sent %d times, stored %d, adopted %d", sends, rows, adopted)
				}
			})
		})
	}
}

// TestKeyedAfterDoubt: a resource whose send was not answered is deleted, and
// another with its key comes: nothing is sent before that send can have settled.
func TestKeyedAfterDoubt(t *testing.T) {
	for name, stored := range map[string]bool{"stored late": true, "never stored": false} {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				h.talk.replies = []reply{{store: stored, err: dbproxy.ErrConnectionLost}}
				h.talk.lag = settle + lag - time.Second
				h.submit(h.keyed("first", "hello", toAlice))
				h.Forget("first")
				began := time.Now()
				h.submit(h.keyed("second", "hello", toAlice))
				p := h.await("second", time.Minute).Recipients[0]
				if !stored {
					wantProgress(t, p, v1alpha1.StateRouted, "")
					if took := h.talk.sends[1].at.Sub(began); took < settle+lag {
						t.Errorf("sent again after %v", took)
					}
					return
				}
				wantProgress(t, p, v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
				h.wantCounts(1, 1, 1)
			})
		})
	}
}

// TestKeyedTakenUp: what was being asked for when an operator ended is asked for in
// the same way: a young group need not show what is older than the message.
func TestKeyedTakenUp(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.fails = failing("list")
		h.submit(h.keyed("m", "hello", toGroup))
		advance(time.Second)
		asked := h.first("m")
		h.Forget("m")
		advance(time.Second)
		h.talk.change(func() { h.talk.fails = nil })
		h.submit(h.task("younger", toGroup))
		again := h.keyed("m", "hello", toGroup)
		again.Order.Created = time.Now().Add(-10 * time.Second)
		again.Recipients[0] = Progress{
			Recipient: toGroup, State: asked.State, Reason: asked.Reason, Message: asked.Message, DoubtSince: asked.DoubtSince,
		}
		h.submit(again)
		wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.wantCounts(2, 2, 2)
	})
}

// TestKeyedUnproved: a key that cannot be looked for is not sent.
func TestKeyedUnproved(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.fails = failing("list")
		h.submit(h.keyed("m", "hello", toAlice))
		wantProgress(t, h.await("m", 2*InDoubtLimit).Recipients[0], v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown)
		h.wantCounts(0, 0, 0)
	})
}

// TestKeyedNowhere: a key cannot be looked for where nothing can be sent either. That
// is said soon, with its reason, and not after an hour of doubt.
func TestKeyedNowhere(t *testing.T) {
	for name, tc := range map[string]struct {
		to         v1alpha1.Recipient
		lacking    func(*talk)
		wantReason string
	}{
		"unknown group":    {toGroup, func(f *talk) { f.groups = nil }, v1alpha1.ReasonGroupNotFound},
		"sender not in it": {toGroup, func(f *talk) { f.groups[group] = []uint32{alice} }, v1alpha1.ReasonSenderNotInGroup},
		"unknown sender":   {toAlice, func(f *talk) { f.users[bot] = false }, v1alpha1.ReasonSenderNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				tc.lacking(h.talk)
				began := time.Now()
				h.submit(h.keyed("m", "hello", tc.to))
				advance(lag / 2)
				// What TeamTalk says so far, for those who do not wait for more.
				wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, tc.wantReason)
				wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateFailed, tc.wantReason)
				if took := time.Since(began); took < lag {
					t.Errorf("it took %v: replicas may lag %v", took, lag)
				}
				h.wantCounts(0, 0, 0)
			})
		})
		t.Run(name+", when it is taken up", func(t *testing.T) {
			run(t, func(h *harness) {
				users, groups := maps.Clone(h.talk.users), maps.Clone(h.talk.groups)
				tc.lacking(h.talk)
				h.submit(h.keyed("m", "hello", tc.to))
				advance(lag / 2)
				said := h.first("m")
				h.Forget("m")
				advance(time.Second)
				h.talk.change(func() { h.talk.users, h.talk.groups = users, groups })
				again := h.keyed("m", "hello", tc.to)
				again.Recipients[0] = Progress{
					Recipient: tc.to, State: said.State, Reason: said.Reason, Message: said.Message, DoubtSince: said.DoubtSince,
				}
				h.submit(again)
				wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
				h.wantCounts(1, 1, 1)
			})
		})
		t.Run(name+", at first", func(t *testing.T) {
			run(t, func(h *harness) {
				users, groups := maps.Clone(h.talk.users), maps.Clone(h.talk.groups)
				tc.lacking(h.talk)
				h.submit(h.keyed("m", "hello", tc.to))
				advance(lag / 2)
				h.talk.change(func() { h.talk.users, h.talk.groups = users, groups })
				wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
				h.wantCounts(1, 1, 1)
			})
		})
	}
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
		wantProgress(t, h.await("m", 5*time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.wantCounts(1, 1, 1)
	})
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
		if n := a.sentAt.Len(); n > 25 || len(a.claimed) != 0 {
			t.Errorf("%d are remembered, %d claimed", n, len(a.claimed))
		}
		if at, ok := a.latest(last); !ok || time.Since(at) != time.Minute {
			t.Errorf("the last one was at %v", at)
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
		if at, ok := a.latest(token); !ok || !at.Equal(first) {
			t.Errorf("last sent at %v, want %v as before", at, first)
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
	cases := map[string]struct {
		rows, size int
		sent       bool
		wantState  v1alpha1.RecipientState
		wantReason string
		wantSends  int
	}{
		"found at its end": {rows: 20_000, size: 1, sent: true, wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted},
		"not in it":        {rows: 20_000, size: 1, wantState: v1alpha1.StateRouted, wantSends: 1},
		"too many rows":    {rows: 70_000, size: 1, wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown},
		"too long rows":    {rows: 20_000, size: 2000, wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				spec := h.keyed("m", "hello", toAlice)
				if tc.sent {
					h.store(spec)
				}
				// Rows of another sender: their contents do not matter.
				data, kind := make([]byte, tc.size), wire.MsgType_MSG_TYPE_SINGLE_TEXT
				now, from := proto.Uint32(uint32(time.Now().Unix())), proto.Uint32(alice)
				for n := range tc.rows {
					h.talk.rows = append(h.talk.rows, stored{&wire.MsgInfo{
						MsgId: proto.Uint32(uint32(1000 + n)), FromSessionId: from, CreateTime: now, MsgType: &kind, MsgData: data,
					}, queue.ConversationOf("", bot, toAlice), time.Now()})
				}
				spec.Policy.Deadline = time.Now().Add(time.Minute)
				h.submit(spec)
				p := h.await("m", 2*time.Minute).Recipients[0]
				wantProgress(t, p, tc.wantState, tc.wantReason)
				if sends, _, _ := h.talk.counts(); sends != tc.wantSends {
					t.Errorf("sent %d times, want %d", sends, tc.wantSends)
				}
			})
		})
	}
}
