// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
)

// recipient is who the message is to.
func (m to) recipient() v1alpha1.Recipient { return m.progress("").Recipient }

func (m to) sent() Sent { return Sent{To: m.recipient(), First: m.msg, Last: m.msg} }

// recorded is what a status shows of it that nobody has read.
func (m to) recorded() []Recorded { return []Recorded{{Sent: m.sent()}} }

// receipt returns what is known of its reading.
func (h *harness) receipt(m to) receipt {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.resources[m.resource().Key]
	if all == nil || all.uid != m.resource().UID {
		h.t.Fatalf("%+v is not tracked", m)
	}
	i, ok := all.find(m.recipient())
	if !ok {
		h.t.Fatalf("%+v is not tracked", m)
	}
	return *all.receipts[i]
}

// readBy returns by how many the Tracker has seen a message read.
func (h *harness) readBy(m to) int {
	h.t.Helper()
	synctest.Wait()
	receipts, _ := h.Receipts(m.resource())
	for _, r := range receipts {
		if r.To == m.recipient() {
			if (r.ReadBy > 0) == r.ReadAt.IsZero() {
				h.t.Errorf("read by %d at %v", r.ReadBy, r.ReadAt)
			}
			return r.ReadBy
		}
	}
	return -1
}

// TestReceipts: who has read a message, as the status of its resource is told.
func TestReceipts(t *testing.T) {
	m, g := user(3, 5), group(7, 5)
	segment := func(h *harness, m to, earlier []uint32, id uint32, step delivery.Step, state v1alpha1.RecipientState) {
		p := m.progress(state)
		p.Earlier, p.MessageID = earlier, id
		h.step(m, step, m.progress(v1alpha1.StatePending), p)
	}
	for name, tc := range map[string]struct {
		happens func(h *harness)
		of      to
		want    int // -1: it is not tracked
	}{
		"nobody":     {func(h *harness) { h.sent(m) }, m, 0},
		"the user":   {func(h *harness) { h.sent(m); h.reads(3, sender, 5) }, m, 1},
		"twice":      {func(h *harness) { h.sent(m); h.reads(3, sender, 5); h.reads(3, sender, 6) }, m, 1},
		"not so far": {func(h *harness) { h.sent(m); h.reads(3, sender, 4) }, m, 0},
		"members":    {func(h *harness) { h.sent(g); h.readsGroup(3, 7, 5); h.readsGroup(4, 7, 6); h.readsGroup(3, 7, 6) }, g, 2},
		"its sender": {func(h *harness) { h.sent(g); h.readsGroup(sender, 7, 5) }, g, 0},
		"before it was routed": {func(h *harness) {
			h.stored(m)
			h.reads(3, sender, 5)
			pass(time.Second)
			h.routed(m)
		}, m, 0},
		"before it was routed, and again": {func(h *harness) {
			h.stored(m)
			h.reads(3, sender, 5)
			pass(time.Second)
			h.routed(m)
			h.reads(3, sender, 5)
		}, m, 1},
		"only the first segment": {func(h *harness) {
			h.sent(m)
			h.reads(3, sender, 5)
			synctest.Wait()
			segment(h, m, []uint32{5}, 6, delivery.StepSend, v1alpha1.StateAcknowledged)
			segment(h, m, []uint32{5}, 6, delivery.StepRoute, v1alpha1.StateRouted)
			h.reads(3, sender, 5)
		}, m, 0},
		"all segments": {func(h *harness) {
			h.sent(m)
			segment(h, m, []uint32{5}, 6, delivery.StepSend, v1alpha1.StateAcknowledged)
			segment(h, m, []uint32{5}, 6, delivery.StepRoute, v1alpha1.StateRouted)
			h.reads(3, sender, 6)
		}, m, 1},
		"before it was routed, and handled late": {func(h *harness) {
			h.stored(m)
			at := time.Now()
			pass(time.Second)
			h.routed(m)
			h.handle(notify{server: chat, Read: router.Read{User: 3, Session: sender, UpTo: 5}, at: at})
		}, m, 0},
		"while it was routed": {func(h *harness) {
			h.stored(m)
			began := time.Now()
			pass(time.Second)
			h.reads(3, sender, 5)
			synctest.Wait()
			h.Observe(delivery.StepEvent{
				Message: m.resource().Key, UID: m.resource().UID, Server: chat, Sender: sender, Step: delivery.StepRoute,
				Began: began, Ended: time.Now(), Before: m.progress(v1alpha1.StateStored), After: m.progress(v1alpha1.StateRouted),
			})
		}, m, 1},
		"kept from the status": {func(h *harness) {
			h.Keep(m.resource(), chat, sender, m.recorded())
			h.reads(3, sender, 5)
		}, m, 1},
		"kept for longer than others": {func(h *harness) {
			h.sent(m)
			h.Keep(m.resource(), chat, sender, m.recorded())
			pass(2 * maxAge)
			h.reads(3, sender, 5)
		}, m, 1},
		"kept beyond the limit": {func(h *harness) {
			h.limit = 1
			h.sent(m)
			h.Keep(m.resource(), chat, sender, m.recorded())
			h.sent(user(4, 1), user(4, 2))
			h.reads(3, sender, 5)
		}, m, 1},
		"kept no longer": {func(h *harness) {
			h.sent(m)
			h.Keep(m.resource(), chat, sender, m.recorded())
			h.Unkeep(m.resource(), []Sent{m.sent()})
			pass(maxAge)
			h.reads(3, sender, 5)
		}, m, -1},
		"kept no longer, and in time": {func(h *harness) {
			h.sent(m)
			h.Keep(m.resource(), chat, sender, m.recorded())
			h.Unkeep(m.resource(), []Sent{m.sent()})
			h.Unkeep(m.resource(), []Sent{m.sent()})
			h.reads(3, sender, 5)
		}, m, 1},
		"kept without it": {func(h *harness) { h.sent(m); h.Keep(m.resource(), chat, sender, nil) }, m, -1},
		"too old":         {func(h *harness) { h.sent(m); pass(maxAge); h.reads(9, 9, 9) }, m, -1},
		"released":        {func(h *harness) { h.sent(m); h.Release(m.resource().Key) }, m, -1},
		"read before the server's session is replaced": {func(h *harness) {
			h.Keep(m.resource(), chat, sender, m.recorded())
			h.reads(3, sender, 5)
			synctest.Wait()
			h.Forget(chat)
		}, m, 1},
		"the server is gone":   {func(h *harness) { h.sent(m); h.Forget(chat) }, m, -1},
		"another server's end": {func(h *harness) { h.sent(m); h.Forget(other) }, m, 0},
		"a later revision": {func(h *harness) {
			h.sent(m)
			h.reads(3, sender, 5)
			synctest.Wait()
			p := m.progress(v1alpha1.StateAcknowledged)
			p.MessageID = 6
			h.step(m, delivery.StepSend, delivery.Progress{Recipient: m.recipient(), State: v1alpha1.StatePending}, p)
			h.reads(3, sender, 5)
		}, m, 0},
		"a later revision with the same id": {func(h *harness) { // ids begin again after a loss of Redis
			h.sent(m)
			h.reads(3, sender, 5)
			synctest.Wait()
			pass(time.Second)
			h.stored(m)
			h.routed(m)
		}, m, 0},
		"another resource of its name": {func(h *harness) {
			h.sent(m)
			h.Keep(Message{m.resource().Key, "another"}, chat, sender, m.recorded())
		}, m, -1},
	} {
		t.Run(name, func(t *testing.T) {
			withTracker(t, func(h *harness) {
				tc.happens(h)
				if got := h.readBy(tc.of); got != tc.want {
					t.Errorf("read by %d, want %d", got, tc.want)
				}
			})
		})
	}
}

// TestHeardSince: what the Tracker has not heard from the start, or not all of, may have been read before.
func TestHeardSince(t *testing.T) {
	m := user(3, 5)
	keep := func(h *harness) { h.Keep(m.resource(), chat, sender, m.recorded()) }
	drop := func(h *harness, server types.NamespacedName) {
		h.drop(server)
		h.reads(9, 9, 9) // the queue is empty after it
		synctest.Wait()
	}
	for name, tc := range map[string]struct {
		happens func(h *harness)
		want    time.Duration // before now; -1: never
	}{
		"sent by this process":    {func(h *harness) { h.sent(m); pass(time.Minute); keep(h) }, time.Minute},
		"sent by an earlier one":  {keep, -1},
		"confirmed to be unread":  {func(h *harness) { keep(h); h.confirm(m, time.Now().Add(-time.Hour)) }, lag},
		"another was confirmed":   {func(h *harness) { keep(h); h.confirm(user(4, 5), time.Now().Add(-time.Hour)) }, -1},
		"a notify was dropped":    {func(h *harness) { h.sent(m); drop(h, chat) }, -1},
		"another server's notify": {func(h *harness) { h.sent(m); drop(h, other) }, 0},
		"found in the store": {func(h *harness) {
			h.step(m, delivery.StepAsk, delivery.Progress{Recipient: m.recipient()}, m.progress(v1alpha1.StateStored))
			h.routed(m)
		}, -1},
		"read before it was routed": {func(h *harness) {
			h.stored(m)
			h.reads(3, sender, 5)
			pass(time.Second)
			h.routed(m)
		}, -1},
		"its session is replaced": {func(h *harness) { h.sent(m); keep(h); h.Forget(chat); keep(h) }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			withTracker(t, func(h *harness) {
				tc.happens(h)
				got := time.Duration(-1)
				if since := h.receipt(m).heardSince; !since.IsZero() {
					got = time.Since(since)
				}
				if got != tc.want {
					t.Errorf("heard since %v, want %v", got, tc.want)
				}
			})
		})
	}
}

// TestWake: a resource is woken by a new reader, and if its server changes.
func TestWake(t *testing.T) {
	withTracker(t, func(h *harness) {
		var woken, maybe []types.NamespacedName
		h.Wake = func(key types.NamespacedName) { woken = append(woken, key) }
		h.MayBeMissed = func(server types.NamespacedName) { maybe = append(maybe, server) }
		m, g, kept := user(3, 5), group(7, 5), user(4, 5)
		h.sent(m, g, kept)
		h.Keep(kept.resource(), chat, sender, kept.recorded())
		want := func(messages ...to) {
			t.Helper()
			synctest.Wait()
			var keys []types.NamespacedName
			for _, m := range messages {
				keys = append(keys, m.resource().Key)
			}
			if !slices.Equal(woken, keys) {
				t.Errorf("woken %v, want %v", woken, keys)
			}
			woken = nil
		}
		want()
		h.reads(3, sender, 5)
		want(m)
		h.reads(3, sender, 6)
		want()
		h.readsGroup(3, 7, 5)
		h.readsGroup(4, 7, 5)
		want(g) // the second reader is not shown
		h.Reconsider(other)
		h.drop(chat)
		h.reads(9, 9, 9)
		want()
		h.Forget(chat)
		want(kept)
		h.Keep(kept.resource(), chat, sender, kept.recorded())
		h.Missed(kept.resource(), Listening{Since: time.Now()}, time.Now()) // it may have been read
		h.sent(kept)
		h.Missed(kept.resource(), Listening{Since: time.Now()}, time.Now())
		h.Missed(kept.resource(), Listening{}, time.Now()) // a router is away
		if wanted := []types.NamespacedName{other, chat, chat, chat}; !slices.Equal(maybe, wanted) {
			t.Errorf("may be missed of %v, want %v", maybe, wanted)
		}
	})
}

// TestWritten: when the status was written is of one resource, and ends with it.
func TestWritten(t *testing.T) {
	withTracker(t, func(h *harness) {
		m, now := user(3, 5), time.Now()
		h.sent(m)
		h.Written(Message{m.resource().Key, "another"}, now)
		if _, written := h.Receipts(m.resource()); !written.IsZero() {
			t.Errorf("written at %v", written)
		}
		h.Written(m.resource(), now)
		if _, written := h.Receipts(m.resource()); written != now {
			t.Errorf("written at %v", written)
		}
	})
}

// TestEscalationIsNotTracked: who reads an escalation is not recorded.
func TestEscalationIsNotTracked(t *testing.T) {
	withTracker(t, func(h *harness) {
		m := user(3, 8)
		for _, role := range []delivery.Role{delivery.RoleEscalation, delivery.RoleRecipient} {
			h.Observe(delivery.StepEvent{
				Message: m.resource().Key, UID: m.resource().UID, Server: m.server, Role: role, Sender: m.from, Step: delivery.StepSend,
				Began: time.Now(), Ended: time.Now(), After: m.progress(v1alpha1.StateAcknowledged),
			})
			if role == delivery.RoleEscalation {
				h.wantPending(0)
			} else {
				h.wantPending(1)
			}
		}
	})
}
