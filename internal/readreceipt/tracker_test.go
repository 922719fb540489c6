// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	chat  = types.NamespacedName{Namespace: "chat", Name: "default"}
	other = types.NamespacedName{Namespace: "chat", Name: "other"}
)

// sender is who all messages are from, unless a test says otherwise.
const sender = 1

// notes is a Listener that records each call as a line.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) Read(server types.NamespacedName, to v1alpha1.RecipientType, after time.Duration) {
	n.add("%s: %s read after %s", server.Name, to, after)
}
func (n *notes) Expired(server types.NamespacedName, why ExpiryReason) {
	n.add("%s: %s", server.Name, why)
}
func (n *notes) Dropped(server types.NamespacedName) { n.add("%s: dropped", server.Name) }

// harness is a started Tracker.
type harness struct {
	*Tracker
	t     *testing.T
	notes *notes
}

// withTracker runs a test with a started Tracker in a synctest bubble.
func withTracker(t *testing.T, test func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &harness{Tracker: NewTracker(), t: t, notes: &notes{}}
		h.Listener = h.notes
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Start(ctx) }()
		test(h)
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
		byConversation, byResource := 0, 0
		for c, receipts := range h.pending {
			byConversation += len(receipts)
			for i, r := range receipts {
				if place, ok := findReceipt(receipts, r.id()); !ok || place != i || r.conversation() != c {
					t.Errorf("the receipts of %+v are not in order", c)
				}
			}
		}
		for _, all := range h.resources {
			byResource += len(all.receipts)
		}
		if byConversation != byResource {
			t.Errorf("%d pending in conversations, %d of resources", byConversation, byResource)
		}
	})
}

// want compares the recorded events, and forgets them.
func (h *harness) want(lines ...string) {
	h.t.Helper()
	synctest.Wait()
	h.notes.mu.Lock()
	defer h.notes.mu.Unlock()
	if !slices.Equal(h.notes.lines, lines) {
		h.t.Errorf("events %q, want %q", h.notes.lines, lines)
	}
	h.notes.lines = nil
}

// wantPending checks how many recipients are tracked that have not read their message.
func (h *harness) wantPending(want int) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	got := 0
	for e := h.byAge.Front(); e != nil; e = e.Next() {
		if r := e.Value.(*receipt); !r.reported {
			got++
		}
	}
	if got != want {
		h.t.Errorf("%d recipients are tracked, want %d", got, want)
	}
}

// to is a message to a user or a group.
type to struct {
	server types.NamespacedName
	from   uint32
	group  bool
	id     uint32 // of the recipient
	msg    uint32
}

func user(id, msg uint32) to  { return to{server: chat, from: sender, id: id, msg: msg} }
func group(id, msg uint32) to { return to{server: chat, from: sender, group: true, id: id, msg: msg} }

// progress is where the message's recipient is in a state.
func (m to) progress(state v1alpha1.RecipientState) delivery.Progress {
	p := delivery.Progress{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: m.id}, State: state, MessageID: m.msg}
	if m.group {
		p.Type = v1alpha1.RecipientGroup
	}
	return p
}

// resource is the TeamTalkMessage that sends it.
func (m to) resource() Message {
	name := fmt.Sprintf("%s-%d-%t-%d-%d", m.server.Name, m.from, m.group, m.id, m.msg)
	return Message{types.NamespacedName{Namespace: "chat", Name: name}, types.UID(name)}
}

// stored tells the Tracker that the store has given a message its id.
func (h *harness) stored(m to) {
	before, after := m.progress(v1alpha1.StatePending), m.progress(v1alpha1.StateAcknowledged)
	before.MessageID = 0
	h.step(m, delivery.StepSend, before, after)
}

// routed tells it that a router has the message.
func (h *harness) routed(m to) {
	before, after := m.progress(v1alpha1.StateStored), m.progress(v1alpha1.StateRouted)
	before.StoredAt = time.Now()
	after.StoredAt, after.RoutedAt = time.Now(), time.Now()
	h.step(m, delivery.StepRoute, before, after)
}

func (h *harness) step(m to, step delivery.Step, before, after delivery.Progress) {
	h.Observe(delivery.StepEvent{
		Message: m.resource().Key, UID: m.resource().UID, Server: m.server, Sender: m.from, Step: step, Began: time.Now(), Ended: time.Now(), Before: before, After: after,
	})
}

func (h *harness) sent(all ...to) {
	for _, m := range all {
		h.stored(m)
		h.routed(m)
	}
}

// reads has a router of the server say what a user has read.
func (h *harness) reads(reader, session, upTo uint32) {
	h.Notify(chat, router.Read{User: reader, Session: session, UpTo: upTo})
}

func (h *harness) readsGroup(reader, group, upTo uint32) {
	h.Notify(chat, router.Read{User: reader, Session: group, Group: true, UpTo: upTo})
}

// pass lets the bubble's clock run: no time passes outside of it.
func pass(d time.Duration) { <-time.After(d) }

// TestWhatIsRead has one notify come, three seconds after messages were routed.
func TestWhatIsRead(t *testing.T) {
	elsewhere, another := user(3, 5), group(7, 5)
	elsewhere.server, another.from = other, 2
	const (
		userRead  = "default: User read after 3s"
		groupRead = "default: Group read after 3s"
	)
	tests := map[string]struct {
		sent   []to
		notify router.Read
		want   []string
		left   int
	}{
		"up to it":         {[]to{user(3, 5)}, router.Read{User: 3, Session: sender, UpTo: 5}, []string{userRead}, 0},
		"beyond it":        {[]to{user(3, 5)}, router.Read{User: 3, Session: sender, UpTo: 9}, []string{userRead}, 0},
		"before it":        {[]to{user(3, 5)}, router.Read{User: 3, Session: sender, UpTo: 4}, nil, 1},
		"all up to it":     {[]to{user(3, 4), user(3, 5), user(3, 6)}, router.Read{User: 3, Session: sender, UpTo: 5}, []string{userRead, userRead}, 1},
		"what another got": {[]to{user(3, 5), user(4, 5)}, router.Read{User: 4, Session: sender, UpTo: 5}, []string{userRead}, 1},
		"of another peer":  {[]to{user(3, 5)}, router.Read{User: 3, Session: 2, UpTo: 5}, nil, 1},
		// The sender's own phone.
		"by the sender":          {[]to{user(3, 5)}, router.Read{User: sender, Session: 3, UpTo: 5}, nil, 1},
		"a group of that number": {[]to{user(3, 5)}, router.Read{User: 3, Session: sender, Group: true, UpTo: 5}, nil, 1},
		"another server's":       {[]to{elsewhere}, router.Read{User: 3, Session: sender, UpTo: 5}, nil, 1},
		"never ours":             {nil, router.Read{User: 3, Session: sender, UpTo: 5}, nil, 0},
		"a group's":              {[]to{group(7, 5)}, router.Read{User: 3, Session: 7, Group: true, UpTo: 5}, []string{groupRead}, 0},
		"a group's, before it":   {[]to{group(7, 5)}, router.Read{User: 3, Session: 7, Group: true, UpTo: 4}, nil, 1},
		"a group's by its sender": {
			[]to{group(7, 5)}, router.Read{User: sender, Session: 7, Group: true, UpTo: 5}, nil, 1,
		},
		"a group's by the sender of one": {
			[]to{group(7, 4), another}, router.Read{User: 2, Session: 7, Group: true, UpTo: 5}, []string{groupRead}, 1,
		},
		"a user of that number": {[]to{group(7, 5)}, router.Read{User: 3, Session: 7, UpTo: 5}, nil, 1},
		"another group's":       {[]to{group(7, 5)}, router.Read{User: 3, Session: 8, Group: true, UpTo: 5}, nil, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			withTracker(t, func(h *harness) {
				h.sent(tc.sent...)
				pass(3 * time.Second)
				h.Notify(chat, tc.notify)
				h.want(tc.want...)
				h.wantPending(tc.left)
			})
		})
	}
}

// TestTracker holds the scenarios that do not fit into the other tables.
func TestTracker(t *testing.T) {
	for name, test := range map[string]func(h *harness){
		"several routers relay a notify, and further members of a group read it": func(h *harness) {
			h.sent(user(3, 5), group(7, 5))
			pass(time.Second)
			h.reads(3, sender, 5)
			h.readsGroup(3, 7, 5)
			h.want("default: User read after 1s", "default: Group read after 1s")
			h.sent(user(3, 6))
			h.reads(3, sender, 5) // by another router, later
			h.readsGroup(3, 7, 5)
			h.readsGroup(4, 7, 6)
			h.want()
			h.reads(3, sender, 6)
			h.want("default: User read after 0s")
		},
		"a client is faster than a router's confirmation": func(h *harness) {
			h.stored(user(3, 5))
			pass(time.Second)
			h.reads(3, sender, 5)
			h.want()
			h.wantPending(1)
			pass(time.Second)
			h.routed(user(3, 5))
			h.want("default: User read after 0s")
			h.wantPending(0)
		},
		"a notify from before the message was sent is handled late": func(h *harness) {
			at := time.Now()
			pass(time.Second)
			h.sent(user(3, 5))
			h.handle(notify{server: chat, Read: router.Read{User: 3, Session: sender, UpTo: 5}, at: at})
			h.want()
			h.wantPending(1)
		},
		"the first segment is tracked, even if the others turn out not to be needed": func(h *harness) {
			first, second := user(3, 5), user(3, 6)
			h.sent(first)
			pending, stored := second.progress(v1alpha1.StatePending), second.progress(v1alpha1.StateAcknowledged)
			pending.Earlier, stored.Earlier = []uint32{5}, []uint32{5}
			h.step(second, delivery.StepSend, pending, stored)
			h.wantPending(1)
			h.step(second, delivery.StepSend, pending, first.progress(v1alpha1.StateRouted))
			h.wantPending(1)
			h.reads(3, sender, 6)
			h.want("default: User read after 0s")
		},
		"one server is dropped, and others are kept": func(h *harness) {
			elsewhere := user(3, 5)
			elsewhere.server = other
			h.sent(user(3, 5), elsewhere, group(7, 5))
			h.stored(user(4, 5))
			h.Forget(chat)
			h.wantPending(1)
			h.routed(user(4, 5)) // by the session that it had
			h.reads(3, sender, 5)
			h.reads(4, sender, 5)
			h.want()
			h.Notify(other, router.Read{User: 3, Session: sender, UpTo: 5})
			h.want("other: User read after 0s")
		},
		"the oldest recipients expire": func(h *harness) {
			h.limit = 3
			h.sent(user(3, 1), user(3, 2), user(4, 1))
			h.want()
			h.stored(user(4, 1)) // tracked already
			h.want()
			h.sent(group(7, 1))
			h.want("default: limit")
			h.wantPending(3)
			h.reads(3, sender, 2)
			h.want("default: User read after 0s")
		},
		// It stays one message, tracked since it was first routed.
		"another resource adopts a message and routes it": func(h *harness) {
			h.sent(user(3, 5))
			pass(time.Second)
			h.step(user(3, 5), delivery.StepAsk, delivery.Progress{}, user(3, 5).progress(v1alpha1.StateStored))
			h.routed(user(3, 5))
			pass(time.Second)
			h.reads(3, sender, 5)
			h.want("default: User read after 2s")
		},
		"another resource adopts a message that is too old to route": func(h *harness) {
			h.sent(user(3, 5))
			pass(time.Second)
			old := user(3, 5).progress(v1alpha1.StateStored)
			old.Reason = v1alpha1.ReasonStoredNotRouted
			h.step(user(3, 5), delivery.StepAsk, delivery.Progress{}, old)
			pass(time.Second)
			h.reads(3, sender, 5)
			h.want("default: User read after 2s")
		},
	} {
		t.Run(name, func(t *testing.T) { withTracker(t, test) })
	}
}

// TestNotRouted: what no router has is not tracked.
func TestNotRouted(t *testing.T) {
	m := user(3, 5)
	ended := m.progress(v1alpha1.StateStored)
	ended.Reason = v1alpha1.ReasonStoredNotRouted
	unread, again := m.progress(v1alpha1.StateInDoubt), m
	unread.MessageID = 0
	again.msg = 6
	tests := map[string]struct {
		then func(h *harness)
		left int
	}{
		"no router took it":      {func(h *harness) { h.step(m, delivery.StepRoute, m.progress(v1alpha1.StateStored), ended) }, 0},
		"it failed":              {func(h *harness) { h.step(m, delivery.StepExpire, m.progress(""), m.progress(v1alpha1.StateFailed)) }, 0},
		"the store lacks it":     {func(h *harness) { h.step(m, delivery.StepReadBack, m.progress(""), unread) }, 0},
		"it has another id":      {func(h *harness) { h.step(m, delivery.StepAsk, m.progress(""), again.progress(v1alpha1.StateStored)) }, 1},
		"it is read back":        {func(h *harness) { h.step(m, delivery.StepReadBack, m.progress(""), m.progress(v1alpha1.StateStored)) }, 1},
		"another one is on hold": {func(h *harness) { h.step(m, delivery.StepAsk, delivery.Progress{}, delivery.Progress{}) }, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			withTracker(t, func(h *harness) {
				h.stored(m)
				tc.then(h)
				h.wantPending(tc.left)
				h.reads(3, sender, 9)
				h.want()
			})
		})
	}
}

// TestAge: recipients expire after a day, whatever happens then.
func TestAge(t *testing.T) {
	for name, happens := range map[string]func(h *harness){
		"it is read":      func(h *harness) { h.reads(3, sender, 5) },
		"another is read": func(h *harness) { h.reads(8, 9, 5) },
		"another is sent": func(h *harness) { h.sent(user(4, 1)); h.reads(4, sender, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			withTracker(t, func(h *harness) {
				h.sent(user(3, 5))
				pass(maxAge - time.Second)
				h.sent(user(5, 1))
				pass(time.Second)
				happens(h)
				synctest.Wait()
				h.wantPending(1)
				h.reads(5, sender, 1)
				synctest.Wait()
				got := h.notes.lines
				if !slices.Contains(got, "default: age") || !slices.Contains(got, "default: User read after 1s") ||
					slices.Contains(got, "default: User read after 24h0m0s") {
					t.Errorf("events %q", got)
				}
			})
		})
	}
}

// TestNotifyNeverBlocks: notifies beyond the queue are dropped and counted.
func TestNotifyNeverBlocks(t *testing.T) {
	r, recorded := NewTracker(), &notes{}
	r.Listener = recorded
	for range maxNotifies + 3 {
		r.Notify(chat, router.Read{User: 3, Session: sender, UpTo: 5})
	}
	if want := slices.Repeat([]string{"default: dropped"}, 3); !slices.Equal(recorded.lines, want) {
		t.Errorf("events %q, want %q", recorded.lines, want)
	}
}

// TestConcurrent runs senders and routers together: each message is read once, and none stays tracked.
func TestConcurrent(t *testing.T) {
	withTracker(t, func(h *harness) {
		const users, messages, routers = 6, 40, 3 // with fewer notifies than are kept
		var all sync.WaitGroup
		for u := range uint32(users) {
			all.Go(func() {
				for m := range uint32(messages) {
					h.sent(user(100+u, 1+m))
				}
			})
			for range routers {
				all.Go(func() {
					for m := range uint32(messages) {
						h.reads(100+u, sender, 1+m)
					}
				})
			}
		}
		all.Wait()
		pass(time.Second)
		for u := range uint32(users) {
			h.reads(100+u, sender, messages)
		}
		synctest.Wait()
		h.wantPending(0)
		if n := len(h.notes.lines); n != users*messages {
			t.Errorf("%d events, want %d", n, users*messages)
		}
	})
}
