// Package reads follows when messages are read. TeamTalk's routers tell every peer
// who has read what, up to which message; a Room keeps, so many and for so long, the
// messages that have been handed to a router and wait for that. Nobody else depends
// on it: what it misses is missing from a metric, and nowhere else.
package reads

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
	// maxWaiting bounds how many recipients are waited for: some 10 MB. The oldest
	// make room.
	maxWaiting = 20_000
	// maxAge is how long one is waited for.
	maxAge = 24 * time.Hour
	// maxNotifies bounds what routers say while the Room is busy: all that is read
	// in a TeamTalk is told, whoever has sent it.
	maxNotifies = 1024
)

// GiveUp is why a recipient is no longer waited for.
type GiveUp string

// Why recipients are no longer waited for.
const (
	// Crowded: newer ones needed the room.
	Crowded GiveUp = "crowded"
	// Aged: nobody has read it for a day.
	Aged GiveUp = "aged"
)

// GiveUps are all reasons for which recipients are no longer waited for.
var GiveUps = []GiveUp{Crowded, Aged}

// Listener is told what becomes of what waits to be read. It is called from several
// goroutines, without locks held, and must not block.
type Listener interface {
	// Read: a user, or the first of a group but the sender, has read a message, so
	// long after a router took it.
	Read(server types.NamespacedName, to v1alpha1.RecipientType, after time.Duration)
	// GaveUp: a recipient is no longer waited for, though nobody has read the message.
	GaveUp(server types.NamespacedName, why GiveUp)
	// Dropped: a router's notify was not looked at, as too many others were waiting.
	Dropped(server types.NamespacedName)
}

// Room is where messages wait to be read. It learns of messages as an observer of the
// delivery engine, and of reading from the routers.
type Room struct {
	// Listener is set before anything else is done.
	Listener Listener

	notifies chan notify
	most     int // recipients

	mu sync.Mutex
	// waiting has the elements of byAge by conversation and id. The oldest is in front.
	waiting map[conversation]map[uint32]*list.Element
	byAge   *list.List
}

var _ delivery.Observer = (*Room)(nil)

// conversation is what a user reads up to a message.
type conversation struct {
	server types.NamespacedName
	group  bool
	// reader is 0 for a group, where anybody may be the first.
	reader uint32
	// session is what the reader calls it: the sender, or the group.
	session uint32
}

// message is one that waits: to be routed first, then to be read.
type message struct {
	conversation
	id     uint32
	sender uint32
	// since is from before the store had it: what was said earlier is not of it.
	since time.Time
	// read, before routed: whoever is quick has read it before the router has
	// confirmed that it relays it.
	routed, read time.Time
}

// notify is what a router has said, and when.
type notify struct {
	server types.NamespacedName
	router.Read
	at time.Time
}

// of returns the conversation that a notify is about.
func (n notify) of() conversation {
	c := conversation{server: n.server, group: n.Group, session: n.Session}
	if !n.Group {
		c.reader = n.User
	}
	return c
}

// NewRoom returns an empty Room.
func NewRoom() *Room {
	return &Room{
		notifies: make(chan notify, maxNotifies), most: maxWaiting,
		waiting: map[conversation]map[uint32]*list.Element{}, byAge: list.New(),
	}
}

// Start looks at what routers say, until ctx is done. It is a manager's Runnable.
func (r *Room) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-r.notifies:
			r.look(n)
		}
	}
}

// Notify takes what a router of the server has said. It never blocks: whoever calls
// it reads a socket.
func (r *Room) Notify(server types.NamespacedName, read router.Read) {
	select {
	case r.notifies <- notify{server: server, Read: read, at: time.Now()}:
	default:
		r.Listener.Dropped(server)
	}
}

// Forget drops what waits for readers in the TeamTalk of a server, which may be
// another one from now on.
func (r *Room) Forget(server types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.byAge.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*message).server == server {
			r.remove(e)
		}
		e = next
	}
}

// Observe implements delivery.Observer. Of a text in several parts it follows the first,
// as what measures its way there does.
func (r *Room) Observe(t delivery.StepEvent) {
	if len(t.Before.Earlier) > 0 || len(t.After.Earlier) > 0 {
		return
	}
	c := conversationOf(t)
	if before := t.Before.MessageID; before != 0 && before != t.After.MessageID {
		r.forget(c, before)
	}
	_, routed := t.Routed()
	switch {
	case routed:
		r.routed(c, t.After.MessageID, t.After.RoutedAt)
	case t.After.Done():
		r.forget(c, t.After.MessageID) // no router took it
	case t.After.MessageID != 0:
		// Before a router has it, and so before it can be read.
		r.expect(&message{conversation: c, id: t.After.MessageID, sender: t.Sender, since: t.Began})
	}
}

// conversationOf returns the conversation of a recipient, as its reader knows it.
func conversationOf(t delivery.StepEvent) conversation {
	if t.After.Type == v1alpha1.RecipientGroup {
		return conversation{server: t.Server, group: true, session: t.After.ID}
	}
	return conversation{server: t.Server, reader: t.After.ID, session: t.Sender}
}

// expect has a message wait that is about to be routed.
func (r *Room) expect(m *message) {
	r.mu.Lock()
	var lost []givenUp
	if r.waiting[m.conversation][m.id] == nil {
		lost = r.clear(time.Now(), 1)
		if r.waiting[m.conversation] == nil {
			r.waiting[m.conversation] = map[uint32]*list.Element{}
		}
		r.waiting[m.conversation][m.id] = r.byAge.PushBack(m)
	}
	r.mu.Unlock()
	r.tell(lost)
}

// routed takes note of a router's having a message, and tells of those who have read
// it already.
func (r *Room) routed(c conversation, id uint32, at time.Time) {
	r.mu.Lock()
	e := r.waiting[c][id]
	if e == nil {
		r.mu.Unlock()
		return
	}
	m := e.Value.(*message)
	if m.routed.IsZero() { // else another resource has adopted it, and announces it again
		m.routed = at
	}
	read := !m.read.IsZero()
	if read {
		r.remove(e)
	}
	r.mu.Unlock()
	if read {
		r.read(m)
	}
}

// look finds what has been read by a notify: once, however many routers relay it,
// since what is read waits no longer.
func (r *Room) look(n notify) {
	var read []*message
	r.mu.Lock()
	lost := r.clear(n.at, 0)
	for id, e := range r.waiting[n.of()] {
		m := e.Value.(*message)
		// A sender has read what it has sent, on whatever device.
		if id > n.UpTo || m.sender == n.User || n.at.Before(m.since) {
			continue
		}
		m.read = n.at
		if !m.routed.IsZero() {
			r.remove(e)
			read = append(read, m)
		}
	}
	r.mu.Unlock()
	r.tell(lost)
	for _, m := range read {
		r.read(m)
	}
}

// read tells that a message is.
func (r *Room) read(m *message) {
	to := v1alpha1.RecipientUser
	if m.group {
		to = v1alpha1.RecipientGroup
	}
	r.Listener.Read(m.server, to, max(0, m.read.Sub(m.routed)))
}

// givenUp is a recipient that is no longer waited for.
type givenUp struct {
	server types.NamespacedName
	why    GiveUp
}

func (r *Room) tell(all []givenUp) {
	for _, g := range all {
		r.Listener.GaveUp(g.server, g.why)
	}
}

// clear gives up what has waited for too long, and as many of the oldest as it takes
// to have room for more. It needs mu.
func (r *Room) clear(now time.Time, more int) (all []givenUp) {
	for e := r.byAge.Front(); e != nil; e = r.byAge.Front() {
		m := e.Value.(*message)
		switch {
		case now.Sub(m.since) >= maxAge:
			all = append(all, givenUp{m.server, Aged})
		case r.byAge.Len()+more > r.most:
			all = append(all, givenUp{m.server, Crowded})
		default:
			return all
		}
		r.remove(e)
	}
	return all
}

// forget drops a message, if it waits for a router. What a router has can be read,
// whatever becomes of another resource that has adopted it.
func (r *Room) forget(c conversation, id uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.waiting[c][id]; e != nil && e.Value.(*message).routed.IsZero() {
		r.remove(e)
	}
}

// remove needs mu.
func (r *Room) remove(e *list.Element) {
	m := r.byAge.Remove(e).(*message)
	delete(r.waiting[m.conversation], m.id)
	if len(r.waiting[m.conversation]) == 0 {
		delete(r.waiting, m.conversation)
	}
}
