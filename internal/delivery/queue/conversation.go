// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"container/heap"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
)

// Conversation identifies what is sent in order, one at a time: db_proxy executes requests in any order, and
// concurrent first messages can create a conversation twice.
type Conversation struct {
	// Store is one of the addresses of the message store.
	Store string
	Type  v1alpha1.RecipientType
	// Low and High are the two users, whichever is the sender; or 0 and the group.
	Low, High uint32
}

// ConversationOf returns the conversation of messages from a sender to a recipient.
func ConversationOf(store string, sender uint32, r v1alpha1.Recipient) Conversation {
	if r.Type == v1alpha1.RecipientUser {
		return Conversation{store, r.Type, min(sender, r.ID), max(sender, r.ID)}
	}
	return Conversation{store, r.Type, 0, r.ID}
}

// conversation is a Conversation that is held or waited for.
type conversation struct {
	key Conversation
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
	// conversation that it holds or waits for; nil: none.
	conversation *conversation
	flow         *fairqueue.Flow
	slot         slotState
}

// slotState is what a Place counts as.
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
	// Wake is called, without locks, when the nth Place is to be looked at again. It must not block.
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

// Requeue lets older messages go first that wait for the conversation, or hold it as well. It reports whether
// there are any: then the conversation must be acquired again, and no younger message gets in between.
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

// Release passes the conversation on, or leaves its line. The place may acquire it again.
func (p *Place) Release() {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	p.queue.leave(p)
}

// ReleaseSlot gives the slot up: what is left waits for long. The recipient counts as such until Done.
func (p *Place) ReleaseSlot() {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	if p.slot == slotUnderWay {
		p.slot = slotLongWait
		p.queue.slots.longWaits.Take(*p.flow, 1)
		p.queue.takeSlots(*p.flow, -1)
	}
}

// Done gives up the conversation and whatever the place counts as: nothing is left to do.
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

// enter puts a place into the line of its conversation. It is not woken if it holds the conversation at once.
func (q *Queue) enter(p *Place) {
	c := q.conversationOf(p.key)
	p.conversation = c
	heap.Push(&c.waiting, p)
	for _, holder := range c.held {
		if p.order.Before(holder.order) {
			q.wokenPlaces = append(q.wokenPlaces, holder)
		}
	}
	if granted := q.grant(c); granted != nil && granted != p {
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
	p.conversation = nil
	if granted := q.grant(c); granted != nil {
		q.wokenPlaces = append(q.wokenPlaces, granted)
	}
}

// grant passes a conversation that nobody holds to the first that waits, and returns it.
func (q *Queue) grant(c *conversation) *Place {
	switch {
	case len(c.held) > 0:
	case len(c.waiting) == 0:
		delete(q.conversations, c.key)
	default:
		p := heap.Pop(&c.waiting).(*Place)
		c.held = append(c.held, p)
		return p
	}
	return nil
}

func (q *Queue) conversationOf(key Conversation) *conversation {
	key.Store = q.storeOf(key.Store)
	c := valueOf(q.conversations, key)
	c.key = key
	return c
}

// Join makes the db_proxy addresses of a server one store, for good: requests may be in flight through old ones. It
// returns the stores that have another name now.
func (q *Queue) Join(server types.NamespacedName, addresses []string) (renamed []Renamed) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, address := range addresses {
		// A server is one of the names of its store.
		if from, to := q.storeOf(server.String()), q.storeOf(address); from != to {
			q.stores[from] = to
			q.merge(from)
			renamed = append(renamed, Renamed{from, to})
		}
	}
	return renamed
}

// Renamed is a store with its name before and now.
type Renamed struct{ From, To string }

// Store returns the name that a server's store has now.
func (q *Queue) Store(server types.NamespacedName) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.storeOf(server.String())
}

// storeOf returns the name that a store has now.
func (q *Queue) storeOf(name string) string {
	for to, ok := q.stores[name]; ok; to, ok = q.stores[name] {
		name = to
	}
	return name
}

// merge moves the conversations of a store that has another name now.
func (q *Queue) merge(from string) {
	for key, c := range q.conversations {
		if key.Store != from {
			continue
		}
		delete(q.conversations, key)
		other := q.conversationOf(key)
		for _, p := range c.held {
			p.conversation = other
		}
		other.held = append(other.held, c.held...)
		for _, p := range c.waiting {
			p.conversation = other
			heap.Push(&other.waiting, p)
		}
	}
}

// Count returns how many conversations are held, and how many places wait for one.
func (q *Queue) Count() (held, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range q.conversations {
		waiting += len(c.waiting)
	}
	return len(q.conversations), waiting
}
