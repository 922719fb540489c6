// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"container/heap"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Queue orders the messages of one process. Its methods may be called from any goroutine.
type Queue struct {
	wake  func(types.NamespacedName)
	slots int

	mu            sync.Mutex
	pending       map[types.UID]*pending
	uids          map[types.NamespacedName]types.UID
	reserved      map[peer]*line[*reservation]
	quotas        map[types.NamespacedName]*serverQuota
	conversations map[Conversation]*conversation
	stores        map[string]string // see Join
	// changed and woken are to be examined and woken at the end of a call.
	changed []*serverQuota
	woken   []types.NamespacedName
}

// New returns a Queue that calls wake for a message that Admit is to be called for again. It must not block.
func New(wake func(types.NamespacedName)) *Queue {
	return &Queue{
		wake: wake, slots: serverSlots,
		pending: map[types.UID]*pending{}, uids: map[types.NamespacedName]types.UID{},
		reserved: map[peer]*line[*reservation]{}, quotas: map[types.NamespacedName]*serverQuota{},
		conversations: map[Conversation]*conversation{}, stores: map[string]string{},
	}
}

// unlock ends a call: it wakes messages without the lock.
func (q *Queue) unlock() {
	for _, s := range q.changed {
		q.wakeNext(s)
	}
	woken := q.woken
	q.changed, q.woken = nil, nil
	q.mu.Unlock()
	for _, key := range woken {
		q.wake(key)
	}
}

// Message is a message that has not finished.
type Message struct {
	Key             types.NamespacedName
	UID             types.UID
	ResourceVersion string
	Server          types.NamespacedName
	// Order is kept from the first Add.
	Order      Order
	Recipients []v1alpha1.Recipient
}

// pending is a Message in the queue. Its entry is in the line for slots.
type pending struct {
	entry
	Message
	// reserved are its places; nil once it is submitted, or Done.
	reserved []reservation
	// behind counts the lines in which it is not the first.
	behind int
	// requeued: see Done.
	requeued bool
	// waits: it is woken when it is the first in all lines.
	waits bool
	// quota of which it has slots, or waits for them; nil: none.
	quota *serverQuota
	slots int
	// called: it has been woken because there are slots for it.
	called bool
}

// peer identifies a line: messages through one server to one recipient, from any sender.
type peer struct {
	server    types.NamespacedName
	recipient v1alpha1.Recipient
}

// reservation is a place of a message that is not submitted.
type reservation struct {
	entry
	peer peer
	of   *pending
}

// Add reserves the places of a message that is not known yet. It returns the Order of the first Add.
func (q *Queue) Add(m Message) (o Order, known bool) {
	q.mu.Lock()
	defer q.unlock()
	if p := q.pending[m.UID]; p != nil {
		m.Order = p.Order
		p.Message = m
		return m.Order, true
	}
	q.drop(q.pending[q.uids[m.Key]])
	p := &pending{entry: entry{order: m.Order, index: -1}, Message: m}
	q.pending[m.UID], q.uids[m.Key] = p, m.UID
	q.reserve(p)
	return m.Order, false
}

// Requeue reserves the places of a message, also after Done. It must be reconciled after that.
func (q *Queue) Requeue(uid types.UID) {
	q.mu.Lock()
	defer q.unlock()
	if p := q.pending[uid]; p != nil {
		p.requeued = true
		q.reserve(p)
	}
}

// Done ends a reconcile. The message gives up its slots, and its places unless it was requeued meanwhile.
func (q *Queue) Done(uid types.UID) {
	q.mu.Lock()
	defer q.unlock()
	switch p := q.pending[uid]; {
	case p == nil:
	case p.requeued:
		q.releaseSlots(p)
	default:
		q.done(p)
	}
}

// Delete begins a reconcile. It drops the message of a name, unless it is of this object and a later version.
func (q *Queue) Delete(key types.NamespacedName, uid types.UID, resourceVersion string) {
	q.mu.Lock()
	defer q.unlock()
	p := q.pending[q.uids[key]]
	if p == nil || p.UID != uid || !(Order{Seen: resourceVersion}).Before(Order{Seen: p.ResourceVersion}) {
		q.drop(p)
		return
	}
	p.requeued = false
}

func (q *Queue) reserve(p *pending) {
	if p.reserved != nil {
		return
	}
	p.reserved = make([]reservation, 0, len(p.Recipients)) // not to be moved: lines point into it
	unique := make(map[v1alpha1.Recipient]bool, len(p.Recipients))
	for _, recipient := range p.Recipients {
		if unique[recipient] {
			continue // it would wait for itself
		}
		unique[recipient] = true
		p.reserved = append(p.reserved, reservation{entry{order: p.order}, peer{p.Server, recipient}, p})
		r := &p.reserved[len(p.reserved)-1]
		l := valueOf(q.reserved, r.peer)
		first := l.first()
		heap.Push(l, r)
		switch {
		case r.index > 0:
			p.behind++
		case first != nil:
			first.of.behind++
		}
	}
}

func (q *Queue) done(p *pending) {
	if p == nil {
		return
	}
	q.releaseSlots(p)
	for i := range p.reserved {
		r := &p.reserved[i]
		l, wasFirst := q.reserved[r.peer], r.index == 0
		heap.Remove(l, r.index)
		switch first := l.first(); {
		case first == nil:
			delete(q.reserved, r.peer)
		case wasFirst:
			first.of.behind--
			if first.of.behind == 0 && first.of.waits {
				first.of.waits = false
				q.woken = append(q.woken, first.of.Key)
			}
		}
	}
	p.reserved, p.behind, p.requeued, p.waits = nil, 0, false, false
}

func (q *Queue) drop(p *pending) {
	if q.done(p); p != nil {
		delete(q.pending, p.UID)
		delete(q.uids, p.Key)
	}
}

// valueOf returns what a map holds under a key, and creates it if necessary.
func valueOf[K comparable, V any](m map[K]*V, key K) *V {
	v := m[key]
	if v == nil {
		v = new(V)
		m[key] = v
	}
	return v
}
