// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
)

const (
	// maxTracked bounds the tracked recipients that are not kept: about 11 MB. The oldest expire first.
	maxTracked = 20_000
	// maxKept bounds the tracked recipients that are kept: about 95 MB.
	maxKept = 200_000
	// maxAge is how long a recipient is tracked that is not kept.
	maxAge = 24 * time.Hour
	// maxNotifies bounds the queue of notifies. Routers relay every read, also of messages from other senders.
	maxNotifies = 1024
	// maxReaders is how many members of a group are counted.
	maxReaders = 1000
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
	// Wake is called with locks held for a resource of which a recipient has read the message, or may have. It must not
	// block, and may be nil.
	Wake func(resource types.NamespacedName)
	// MayBeMissed is called with locks held for a server if reads of its messages may have been missed: DueChats and
	// Review tell of which. It must not block, and may be nil.
	MayBeMissed func(server types.NamespacedName)

	notifies chan notify
	limit    int // recipients that are not kept
	maxKept  int // recipients that are kept

	mu sync.Mutex
	// pending has the receipts of each conversation, in the order of their ids.
	pending map[conversation][]*receipt
	// byAge has those that are not kept. The front is the oldest.
	byAge *list.List
	// resources has the receipts of each resource.
	resources map[types.NamespacedName]*resource
	// tracked is how many receipts there are.
	tracked int
	recent  recentReads
	// dropped are the servers of which notifies were discarded since the queue was last empty.
	dropped map[types.NamespacedName]bool
	// droppedAt is when a notify of a server was last discarded.
	droppedAt map[types.NamespacedName]time.Time
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

// recipient returns whose conversation it is.
func (c conversation) recipient() v1alpha1.Recipient {
	if c.group {
		return v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: c.session}
	}
	return v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: c.reader}
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
		notifies: make(chan notify, maxNotifies), limit: maxTracked, maxKept: maxKept,
		pending: map[conversation][]*receipt{}, byAge: list.New(),
		resources: map[types.NamespacedName]*resource{}, dropped: map[types.NamespacedName]bool{},
		droppedAt: map[types.NamespacedName]time.Time{},
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

// Notify queues a notify of one of the server's routers. It does not wait for a free place: its caller reads a socket.
func (t *Tracker) Notify(server types.NamespacedName, read router.Read) {
	select {
	case t.notifies <- notify{server: server, Read: read, at: time.Now()}:
	default:
		t.drop(server)
		t.Listener.Dropped(server)
	}
}

// drop notes that a notify of a server is discarded now.
func (t *Tracker) drop(server types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropped[server], t.droppedAt[server] = true, time.Now()
}

// Forget drops what is tracked for a server. Its endpoints may belong to another TeamTalk now. Who has read a message
// that is kept may still have to be recorded.
func (t *Tracker) Forget(server types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.dropped, server)
	delete(t.droppedAt, server)
	for c, receipts := range t.pending { // each conversation once: one may have very many
		if c.server != server {
			continue
		}
		t.setPending(c, slices.DeleteFunc(receipts, func(r *receipt) bool {
			isKept := r.of.kept && r.readBy() > 0
			if !isKept {
				t.detach(r)
			}
			return !isKept
		}))
	}
	for key, all := range t.resources {
		if all.server != server {
			continue
		}
		if all.kept && t.Wake != nil {
			t.Wake(key)
		}
		if len(all.receipts) == 0 {
			delete(t.resources, key)
		}
	}
}

// Reconsider calls MayBeMissed for a server whose connections to routers have changed.
func (t *Tracker) Reconsider(server types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mayBeMissed(server)
}

// mayBeMissed needs mu.
func (t *Tracker) mayBeMissed(server types.NamespacedName) {
	if t.MayBeMissed != nil {
		t.MayBeMissed(server)
	}
}

// handleDropped forgets what a dropped notify may have contradicted. It needs mu.
func (t *Tracker) handleDropped() {
	for _, all := range t.resources {
		if !t.dropped[all.server] {
			continue
		}
		for _, r := range all.receipts {
			r.heardSince, r.counter = time.Time{}, nil
		}
	}
	for server := range t.dropped {
		t.mayBeMissed(server)
	}
	clear(t.dropped)
}

// Observe implements delivery.Observer. Who reads an escalation is not recorded.
func (t *Tracker) Observe(e delivery.StepEvent) {
	if e.Role == delivery.RoleEscalation {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c, id := conversationOf(e), receiptID{uid: e.UID, first: e.After.MessageID}
	if len(e.Before.Earlier) > 0 || len(e.After.Earlier) > 0 {
		t.observeLater(c, e)
		return
	}
	if before := e.Before.MessageID; before != 0 && before != id.first {
		t.forgetUnrouted(c, receiptID{uid: e.UID, first: before})
	}
	tracked := t.receiptOf(c, id)
	if isEarlier := tracked != nil && !tracked.routing.IsZero() && e.Step == delivery.StepSend; isEarlier {
		t.remove(tracked) // after a loss of Redis, another message was just stored with its id
		tracked = nil
	}
	switch {
	case isRouted(e) && tracked != nil:
		if tracked.routed.IsZero() { // else it is routed again
			tracked.routed = e.After.RoutedAt
		}
		tracked.startReading(e.Began)
		t.reportIfRead(tracked)
	case isRouted(e):
	case e.After.Done():
		t.forgetUnrouted(c, id) // no router accepted it
	case id.first != 0 && tracked == nil:
		// Before a router has the message, so before anybody can read it.
		t.expire(time.Now(), 1)
		r := &receipt{
			first: id.first, last: id.first, sender: e.Sender, since: e.Began,
			// Another resource that has adopted the message is not counted.
			reported: t.isTracked(c, id.first),
		}
		if t.isHeard(c, id.first, e) {
			r.heardSince = e.Began
		}
		t.add(Message{e.Message, e.UID}, c, r)
	}
}

// observeLater is Observe for the segments after the first one. The message is read with the last one. The metric is
// about the first one.
func (t *Tracker) observeLater(c conversation, e delivery.StepEvent) {
	id := receiptID{uid: e.UID}
	switch {
	case len(e.After.Earlier) > 0:
		id.first = e.After.Earlier[0]
	default: // the others turn out not to be needed
		id.first = e.After.MessageID
	}
	r := t.receiptOf(c, id)
	if r == nil {
		return
	}
	if last := e.After.MessageID; last != 0 && last != r.last {
		if last < r.last || !t.isHeard(c, last, e) { // with an earlier segment, readers may be forgotten
			r.heardSince = time.Time{}
		}
		r.last = last
		r.forgetReaders()
	}
	if e.After.State == v1alpha1.StateRouted {
		r.startReading(e.Began)
	}
}

// isHeard reports whether a step has stored a message, and all notifies about it are still to be handled. It needs mu.
func (t *Tracker) isHeard(c conversation, id uint32, e delivery.StepEvent) bool {
	return e.Step == delivery.StepSend && // else another operator may have routed it
		e.Began.After(t.droppedAt[c.server]) && !t.recent.mayHave(c, id, e.Sender, e.Began)
}

// isRouted reports whether a router has just taken the message, or a segment of it.
func isRouted(e delivery.StepEvent) bool {
	return e.Step == delivery.StepRoute && e.After.State == v1alpha1.StateRouted
}

// conversationOf returns the conversation of a recipient as its reader identifies it.
func conversationOf(e delivery.StepEvent) conversation {
	return conversationWith(e.Server, e.Sender, e.After.Recipient)
}

func conversationWith(server types.NamespacedName, sender uint32, to v1alpha1.Recipient) conversation {
	if to.Type == v1alpha1.RecipientGroup {
		return conversation{server: server, group: true, session: to.ID}
	}
	return conversation{server: server, reader: to.ID, session: sender}
}

// handle finds the messages that a notify is about. Several routers may relay the same notify.
func (t *Tracker) handle(n notify) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(n.at, 0)
	t.recent.add(n)
	for _, r := range t.pending[n.conversation()] {
		if r.first > n.UpTo {
			break
		}
		// A sender's own devices do not count as readers.
		if r.sender == n.User || n.at.Before(r.since) {
			continue
		}
		if r.read.IsZero() {
			r.read = n.at
			t.reportIfRead(r)
		}
		if r.last <= n.UpTo && r.addReader(n.User, n.at) && r.of.isShown(r) {
			t.wake(r)
		}
	}
	if len(t.dropped) > 0 && len(t.notifies) == 0 {
		t.handleDropped()
	}
}

// reportIfRead reports a message that is both routed and read, once. It needs mu.
func (t *Tracker) reportIfRead(r *receipt) {
	if r.read.IsZero() || r.routed.IsZero() || r.reported {
		return
	}
	r.reported = true
	t.Listener.Read(r.of.server, r.recipient().Type, max(0, r.read.Sub(r.routed)))
}

// expire removes what is too old, and the oldest until added more recipients fit. It needs mu.
func (t *Tracker) expire(now time.Time, added int) {
	for e := t.byAge.Front(); e != nil; e = t.byAge.Front() {
		r := e.Value.(*receipt)
		why := ExpiredByLimit
		switch {
		case now.Sub(r.since) >= maxAge:
			why = ExpiredByAge
		case t.byAge.Len()+added <= t.limit:
			return
		}
		if r.read.IsZero() {
			t.Listener.Expired(r.of.server, why)
		}
		t.remove(r)
	}
}

// forgetUnrouted drops a message that no router has. A routed message can be read even if another resource has adopted
// it and failed. It needs mu.
func (t *Tracker) forgetUnrouted(c conversation, id receiptID) {
	if r := t.receiptOf(c, id); r != nil && r.routed.IsZero() {
		t.remove(r)
	}
}
