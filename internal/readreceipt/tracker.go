// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"container/list"
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
)

const (
	// maxTracked bounds the tracked recipients: about 10 MB. The oldest expire first.
	maxTracked = 20_000
	// maxAge is how long a recipient is tracked.
	maxAge = 24 * time.Hour
	// maxNotifies bounds the queue of notifies. Routers relay every read, also of messages from other senders.
	maxNotifies = 1024
)

// ExpiryReason is why a recipient is no longer tracked although it has not read the message.
type ExpiryReason string

// Reasons of Listener.Expired.
const (
	ExpiredByLimit ExpiryReason = "limit" // too many newer recipients are tracked
	ExpiredByAge   ExpiryReason = "age"   // the recipient has not read the message within a day
)

// ExpiryReasons are all reasons of Listener.Expired.
var ExpiryReasons = []ExpiryReason{ExpiredByLimit, ExpiredByAge}

// Listener receives the events of a Tracker. It is called from several goroutines and with locks held: it must
// not block, and must not call the Tracker.
type Listener interface {
	// Read: the user, or the first member of the group other than the sender, has read a message.
	// after is the time since a router accepted it.
	Read(server types.NamespacedName, to v1alpha1.RecipientType, after time.Duration)
	// Expired: a recipient is no longer tracked.
	Expired(server types.NamespacedName, why ExpiryReason)
	// Dropped: a notify was discarded because the queue is full.
	Dropped(server types.NamespacedName)
}

// Tracker matches read notifies with the messages that were handed to a router.
type Tracker struct {
	// Listener must be set before any method is called.
	Listener Listener

	notifies chan notify
	limit    int // recipients

	mu sync.Mutex
	// pending has the elements of byAge by conversation and message id. The front is the oldest.
	pending map[conversation]map[uint32]*list.Element
	byAge   *list.List
}

// conversation is what a user reads up to a message.
type conversation struct {
	server types.NamespacedName
	group  bool
	// reader is 0 for a group, in which any member may be the first to read.
	reader uint32
	// session is the reader's id of the conversation: the sender, or the group.
	session uint32
}

// message is one that is tracked for one recipient.
type message struct {
	conversation
	id     uint32
	sender uint32
	// since is before the message was stored. Earlier notifies are not about it.
	since time.Time
	// read can be earlier than routed: a fast client reads the message before the router's confirmation arrives.
	routed, read time.Time
}

// notify is a read notify with the time of its arrival.
type notify struct {
	server types.NamespacedName
	router.Read
	at time.Time
}

func (n notify) conversation() conversation {
	c := conversation{server: n.server, group: n.Group, session: n.Session}
	if !n.Group {
		c.reader = n.User
	}
	return c
}

// NewTracker returns an empty Tracker.
func NewTracker() *Tracker {
	return &Tracker{
		notifies: make(chan notify, maxNotifies), limit: maxTracked,
		pending: map[conversation]map[uint32]*list.Element{}, byAge: list.New(),
	}
}

// Start implements manager.Runnable: it handles notifies until ctx is done.
func (t *Tracker) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-t.notifies:
			t.handle(n)
		}
	}
}

// Notify queues a notify of one of the server's routers. It never blocks: its caller reads a socket.
func (t *Tracker) Notify(server types.NamespacedName, read router.Read) {
	select {
	case t.notifies <- notify{server: server, Read: read, at: time.Now()}:
	default:
		t.Listener.Dropped(server)
	}
}

// Forget drops what is tracked for a server. Its endpoints may belong to another TeamTalk now.
func (t *Tracker) Forget(server types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.byAge.Front(); e != nil; {
		next := e.Next() // remove clears it
		if e.Value.(*message).server == server {
			t.remove(e)
		}
		e = next
	}
}

// Observe implements delivery.Observer. Of a text that is split it tracks the first segment, as the metrics do.
func (t *Tracker) Observe(e delivery.StepEvent) {
	if len(e.Before.Earlier) > 0 || len(e.After.Earlier) > 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c, id := conversationOf(e), e.After.MessageID
	if before := e.Before.MessageID; before != 0 && before != id {
		t.forgetUnrouted(c, before)
	}
	_, routed := e.Routed()
	tracked := t.pending[c][id]
	switch {
	case routed && tracked != nil:
		m := tracked.Value.(*message)
		if m.routed.IsZero() { // else another resource has adopted it and routes it again
			m.routed = e.After.RoutedAt
		}
		t.reportIfRead(tracked)
	case routed:
	case e.After.Done():
		t.forgetUnrouted(c, id) // no router accepted it
	case id != 0 && tracked == nil:
		// Before a router has the message, so before anybody can read it.
		t.expire(time.Now(), 1)
		if t.pending[c] == nil {
			t.pending[c] = map[uint32]*list.Element{}
		}
		t.pending[c][id] = t.byAge.PushBack(&message{conversation: c, id: id, sender: e.Sender, since: e.Began})
	}
}

// conversationOf returns the conversation of a recipient as its reader identifies it.
func conversationOf(e delivery.StepEvent) conversation {
	if e.After.Type == v1alpha1.RecipientGroup {
		return conversation{server: e.Server, group: true, session: e.After.ID}
	}
	return conversation{server: e.Server, reader: e.After.ID, session: e.Sender}
}

// handle finds the messages that a notify is about. Several routers may relay the same notify: a
// message is removed by the first one.
func (t *Tracker) handle(n notify) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(n.at, 0)
	for id, e := range t.pending[n.conversation()] {
		m := e.Value.(*message)
		// A sender's own devices do not count as readers.
		if id > n.UpTo || m.sender == n.User || n.at.Before(m.since) {
			continue
		}
		m.read = n.at
		t.reportIfRead(e)
	}
}

// reportIfRead reports and removes a message that is both routed and read. It needs mu.
func (t *Tracker) reportIfRead(e *list.Element) {
	m := e.Value.(*message)
	if m.read.IsZero() || m.routed.IsZero() {
		return
	}
	t.remove(e)
	to := v1alpha1.RecipientUser
	if m.group {
		to = v1alpha1.RecipientGroup
	}
	t.Listener.Read(m.server, to, max(0, m.read.Sub(m.routed)))
}

// expire removes what is too old, and the oldest until added more recipients fit. It needs mu.
func (t *Tracker) expire(now time.Time, added int) {
	for e := t.byAge.Front(); e != nil; e = t.byAge.Front() {
		m := e.Value.(*message)
		switch {
		case now.Sub(m.since) >= maxAge:
			t.Listener.Expired(m.server, ExpiredByAge)
		case t.byAge.Len()+added > t.limit:
			t.Listener.Expired(m.server, ExpiredByLimit)
		default:
			return
		}
		t.remove(e)
	}
}

// forgetUnrouted drops a message that no router has. A routed message can be read even if another resource has adopted
// it and failed. It needs mu.
func (t *Tracker) forgetUnrouted(c conversation, id uint32) {
	if e := t.pending[c][id]; e != nil && e.Value.(*message).routed.IsZero() {
		t.remove(e)
	}
}

// remove needs mu.
func (t *Tracker) remove(e *list.Element) {
	m := t.byAge.Remove(e).(*message)
	delete(t.pending[m.conversation], m.id)
	if len(t.pending[m.conversation]) == 0 {
		delete(t.pending, m.conversation)
	}
}
