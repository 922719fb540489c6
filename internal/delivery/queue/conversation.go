// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"container/heap"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
)

// Conversation identifies messages that are sent in order, one at a time. db_proxy executes requests in any order, and
// concurrent first messages can create a conversation twice. Two servers of one store have the same conversations.
type Conversation struct {
	// Server is the TeamTalkServer whose store it is in.
	Server types.NamespacedName
	Participants
}

// Participants are the participants of a conversation in one store.
type Participants struct {
	Type v1alpha1.RecipientType
	// Low and High are the two users, whichever is the sender; or 0 and the group.
	Low, High uint32
}

// ConversationOf returns the conversation of messages through a server from a sender to a recipient.
func ConversationOf(server types.NamespacedName, sender uint32, r v1alpha1.Recipient) Conversation {
	if r.Type == v1alpha1.RecipientUser {
		return Conversation{server, Participants{r.Type, min(sender, r.ID), max(sender, r.ID)}}
	}
	return Conversation{server, Participants{r.Type, 0, r.ID}}
}

// conversation is a Conversation of a store that is held or waited for.
type conversation struct {
	store *store
	key   Participants
	// held: by one Place, or by several where stores have been joined since.
	held    []*Place
	waiting line[*Place]
}

// Place is one recipient's in its conversation, with its slot.
type Place struct {
	entry
	queue *Queue
	// wake is called when the place holds its conversation, and when an older place waits for one that it holds. It
	// may be called without a reason.
	wake func()
	key  Conversation
	// conversation that it holds or waits for, or nil.
	conversation *conversation
	// server and its addresses since it has entered the conversation.
	server *server
	since  *generation
	flow   *fairqueue.Flow
	slot   slotState
}

// slotState tells how a Place counts against the limits.
type slotState uint8

const (
	slotUnderWay slotState = iota
	slotLongWait
	slotReleased
)

// Submission is a message that has been admitted.
type Submission struct {
	UID types.UID
	// Flow is that of its recipients, see FlowOf.
	Flow          fairqueue.Flow
	Order         Order
	Conversations []Conversation
	// Wake is called, without locks, when the nth Place must be checked again. It must not block.
	Wake func(n int)
}

// Submit moves a message from its reserved places into conversations. Its recipients have slots then.
func (q *Queue) Submit(s Submission) []*Place {
	q.mu.Lock()
	defer q.unlock()
	q.done(q.pending[s.UID])
	q.takeSlots(s.Flow, len(s.Conversations))
	places, flow, wake := make([]*Place, len(s.Conversations)), s.Flow, s.Wake
	for i, key := range s.Conversations {
		places[i] = &Place{
			entry: entry{order: s.Order}, queue: q, key: key, flow: &flow, wake: func() { wake(i) },
		}
		q.enter(places[i])
	}
	return places
}

// Acquire reports whether the place holds its conversation. If not, it waits in its line from now on.
func (p *Place) Acquire() bool {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	if p.conversation == nil {
		p.queue.enter(p)
	}
	return p.index < 0
}

// Requeue gives precedence to older messages that wait for the conversation, or hold it as well. It reports whether
// there are any. If so, the conversation must be acquired again, and no younger message overtakes.
func (p *Place) Requeue() bool {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	older := func(other *Place) bool { return other.order.Before(p.order) }
	c := p.conversation
	if !slices.ContainsFunc(c.held, older) && (len(c.waiting) == 0 || !older(c.waiting[0])) {
		return false
	}
	p.queue.leave(p)
	p.queue.enter(p)
	return true
}

// Release passes the conversation on, or leaves its queue. The place may acquire it again.
func (p *Place) Release() {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	p.queue.leave(p)
}

// ReleaseSlot releases the slot: the recipient waits for a long time from now on. It counts as such until Done.
func (p *Place) ReleaseSlot() {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	if p.slot == slotUnderWay {
		p.slot = slotLongWait
		p.queue.slots.longWaits.Take(*p.flow, 1)
		p.queue.takeSlots(*p.flow, -1)
	}
}

// Done releases the conversation and the slot: nothing is left to do.
func (p *Place) Done() {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	p.queue.leave(p)
	switch p.slot {
	case slotUnderWay:
		p.queue.takeSlots(*p.flow, -1)
	case slotLongWait:
		p.queue.slots.longWaits.Return(*p.flow, 1)
		p.queue.slots.freed = true
	}
	p.slot = slotReleased
}

// enter adds a place to the queue of its conversation. It is not woken if it holds the conversation immediately.
func (q *Queue) enter(p *Place) {
	p.server = q.serverOf(p.key.Server)
	p.since = p.server.current()
	p.since.places++
	c := p.server.store.conversation(p.key.Participants)
	p.conversation = c
	heap.Push(&c.waiting, p)
	for _, holder := range c.held {
		if p.order.Before(holder.order) {
			q.wokenPlaces = append(q.wokenPlaces, holder)
		}
	}
	if granted := c.grant(); granted != nil && granted != p {
		q.wokenPlaces = append(q.wokenPlaces, granted)
	}
}

func (q *Queue) leave(p *Place) {
	c := p.conversation
	switch {
	case c == nil:
		return
	case p.index >= 0:
		heap.Remove(&c.waiting, p.index)
	default:
		c.held = slices.DeleteFunc(c.held, func(other *Place) bool { return other == p })
	}
	s := p.server
	p.since.places--
	p.conversation, p.server, p.since = nil, nil, nil
	if granted := c.grant(); granted != nil {
		q.wokenPlaces = append(q.wokenPlaces, granted)
	}
	q.forget(s)
}

// conversation returns one of a store, and creates it if necessary.
func (s *store) conversation(key Participants) *conversation {
	c := valueOf(s.conversations, key)
	c.store, c.key = s, key
	return c
}

// grant passes a free conversation to the first waiting place, and returns the place.
func (c *conversation) grant() *Place {
	switch {
	case len(c.held) > 0:
	case len(c.waiting) == 0:
		delete(c.store.conversations, c.key)
	default:
		p := heap.Pop(&c.waiting).(*Place)
		c.held = append(c.held, p)
		return p
	}
	return nil
}

// Count returns how many conversations are held, and how many places wait for one.
func (q *Queue) Count() (held, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for s := range q.stores {
		held += len(s.conversations)
		for _, c := range s.conversations {
			waiting += len(c.waiting)
		}
	}
	return held, waiting
}
