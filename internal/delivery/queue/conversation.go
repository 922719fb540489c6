// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"container/heap"
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
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

// Place is one recipient's in its conversation, with its slot. It is for one goroutine.
type Place struct {
	entry
	queue *Queue
	key   Conversation
	// conversation that it holds or waits for; nil: none.
	conversation *conversation
	// acquired is closed when it holds the conversation.
	acquired chan struct{}
	// olderWaits receives when an older place waits for the conversation that it holds.
	olderWaits chan struct{}
	// quota of its slot; nil: it is released.
	quota *serverQuota
}

// Submit moves a message from its reserved places into conversations. Its recipients have slots then.
func (q *Queue) Submit(uid types.UID, server types.NamespacedName, o Order, conversations []Conversation) []*Place {
	q.mu.Lock()
	defer q.unlock()
	q.done(q.pending[uid])
	quota := q.quotaOf(server)
	quota.used += len(conversations)
	places := make([]*Place, len(conversations))
	for i, key := range conversations {
		places[i] = &Place{
			entry: entry{order: o}, queue: q, key: key, quota: quota, olderWaits: make(chan struct{}, 1),
		}
		q.enter(places[i])
	}
	return places
}

// Acquire waits until the place holds its conversation, or ctx is done.
func (p *Place) Acquire(ctx context.Context) error {
	if p.acquired == nil {
		p.queue.mu.Lock()
		p.queue.enter(p)
		p.queue.mu.Unlock()
	}
	select {
	case <-p.acquired:
		return nil
	default:
	}
	select {
	case <-p.acquired:
		return nil
	case <-ctx.Done():
		p.Release() // also if it was granted at the same moment
		return ctx.Err()
	}
}

// Requeue lets older messages go first that wait for the conversation, or hold it as well. It reports whether
// there are any: then the conversation must be acquired again, and no younger message gets in between.
func (p *Place) Requeue() bool {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	older := func(other *Place) bool { return other.order.Before(p.order) }
	c := p.conversation
	if !slices.ContainsFunc(c.held, older) && (len(c.waiting) == 0 || !older(c.waiting[0])) {
		return false
	}
	p.queue.leave(p)
	p.queue.enter(p)
	return true
}

// OlderWaits receives when Requeue may let an older message go first. It can receive without a reason.
func (p *Place) OlderWaits() <-chan struct{} { return p.olderWaits }

// Release passes the conversation on. The place may acquire it again.
func (p *Place) Release() {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	p.queue.leave(p)
}

// ReleaseSlot gives the slot up: nothing is left to send, or what is left waits for long.
func (p *Place) ReleaseSlot() {
	p.queue.mu.Lock()
	defer p.queue.unlock()
	if s := p.quota; s != nil {
		s.used--
		p.queue.changed = append(p.queue.changed, s)
		p.quota = nil
	}
}

func (q *Queue) enter(p *Place) {
	c := q.conversationOf(p.key)
	p.conversation, p.acquired = c, make(chan struct{})
	heap.Push(&c.waiting, p)
	for _, holder := range c.held {
		if p.order.Before(holder.order) {
			select {
			case holder.olderWaits <- struct{}{}:
			default:
			}
		}
	}
	q.grant(c)
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
	p.conversation, p.acquired = nil, nil
	q.grant(c)
}

// grant passes a conversation that nobody holds to the first that waits.
func (q *Queue) grant(c *conversation) {
	switch {
	case len(c.held) > 0:
	case len(c.waiting) == 0:
		delete(q.conversations, c.key)
	default:
		p := heap.Pop(&c.waiting).(*Place)
		c.held = append(c.held, p)
		close(p.acquired)
	}
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
