// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"container/heap"
	"sync"
	"unique"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
)

// Queue orders the messages of one process. Its methods may be called from any goroutine.
type Queue struct {
	// Admits selects the other namespaces that may use a server. It returns nil if there are none. Labels returns the
	// labels of a namespace, or nil if they are not known. Both are set before the first call, and must not block.
	Admits func(server types.NamespacedName) labels.Selector
	Labels func(namespace string) labels.Labels
	// StoresChanged, if set, is called when TakeStoreChanges returns something.
	StoresChanged func()

	wake func(types.NamespacedName)

	mu         sync.Mutex
	pending    map[types.UID]*pending
	uids       map[types.NamespacedName]types.UID
	reserved   map[peer]*peerLine
	slots      slots
	servers    map[types.NamespacedName]*server
	namespaces map[string]*namespace
	stores     map[*store]struct{}
	// numbered and lastStore count servers and stores. storeChanges are for TakeStoreChanges.
	numbered     uint64
	lastStore    StoreID
	storeChanges []StoreChange
	// woken and wokenPlaces are woken at the end of a call.
	woken       []types.NamespacedName
	wokenPlaces []*Place
}

// New returns a Queue. It calls wake for a message for which Admit is to be called again. wake must not block.
func New(wake func(types.NamespacedName)) *Queue {
	return &Queue{
		wake: wake, slots: newSlots(maxUnderWay, maxLongWaits),
		pending: map[types.UID]*pending{}, uids: map[types.NamespacedName]types.UID{},
		reserved: map[peer]*peerLine{},
		servers:  map[types.NamespacedName]*server{}, namespaces: map[string]*namespace{}, stores: map[*store]struct{}{},
	}
}

// unlock ends a call: it admits messages for which there are slots now, and wakes without the lock.
func (q *Queue) unlock() {
	if q.slots.freed {
		q.slots.freed = false
		q.admitNext()
	}
	messages, places, storesChanged := q.woken, q.wokenPlaces, len(q.storeChanges) > 0
	q.woken, q.wokenPlaces = nil, nil
	q.mu.Unlock()
	if storesChanged && q.StoresChanged != nil {
		q.StoresChanged()
	}
	for _, key := range messages {
		q.wake(key)
	}
	for _, p := range places {
		p.wake()
	}
}

// Message is a message that has not finished.
type Message struct {
	Key             types.NamespacedName
	UID             types.UID
	ResourceVersion string
	Server          types.NamespacedName
	// Order is kept from the first Add.
	Order Order
	// Recipients may be names. After these have been resolved, their ids are added.
	Recipients []v1alpha1.Recipient
}

// pending is a Message in the queue.
type pending struct {
	Message
	// reserved holds its places. It is nil after Submit or Done.
	reserved []reservation
	// behind counts the lines in which it is not the first.
	behind int
	// requeued: see Done.
	requeued bool
	// waits: it is woken when it is the first in all lines.
	waits bool
	// flow is the flow of the slots that it has, or waits for if item is set.
	flow  fairqueue.Flow
	slots int
	item  *fairqueue.Item[*pending]
	// promised: it was woken for its slots, and Admit was not called since.
	promised bool
}

// peer identifies a line: messages of one namespace through one server to one recipient, from any sender.
type peer struct {
	flow  unique.Handle[fairqueue.Flow]
	group bool
	// ref is true if name is that of a TeamTalkGroup.
	ref bool
	id  uint32
	// name is set while the id is not known.
	name string
}

// peerLine is the line of a peer. Half a million recipients may have places. Each takes about 120 bytes.
type peerLine struct {
	peer peer
	line line[*reservation]
}

// reservation is a place of a message that is not submitted.
type reservation struct {
	of    *pending
	in    *peerLine
	index int
}

func (r *reservation) orderOf() *Order { return &r.of.Order }
func (r *reservation) indexOf() *int   { return &r.index }

// Add reserves the places of a new message, or of one whose names were resolved since. It returns the Order of the
// first Add.
func (q *Queue) Add(m Message) (o Order, known bool) {
	q.mu.Lock()
	defer q.unlock()
	if p := q.pending[m.UID]; p != nil {
		m.Order = p.Order
		resolved := p.reserved != nil && len(m.Recipients) > len(p.Recipients)
		p.Message = m
		if resolved {
			requeued := p.requeued
			q.done(p)
			q.reserve(p)
			p.requeued = requeued
		}
		return m.Order, true
	}
	q.drop(q.pending[q.uids[m.Key]])
	p := &pending{Message: m}
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

// Done ends a reconciliation. It releases the message's slots, and its places unless it was requeued meanwhile.
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
	flow, distinct := unique.Make(FlowOf(p.Key, p.Server)), make(map[peer]bool, len(p.Recipients))
	for _, recipient := range p.Recipients {
		to := peer{
			flow, recipient.Type == v1alpha1.RecipientGroup, recipient.Ref != "", recipient.ID,
			cmp.Or(recipient.Name, recipient.Ref),
		}
		if distinct[to] {
			continue // it would wait for itself
		}
		distinct[to] = true
		in := valueOf(q.reserved, to)
		in.peer = to
		p.reserved = append(p.reserved, reservation{of: p, in: in})
		r, first := &p.reserved[len(p.reserved)-1], in.line.first()
		heap.Push(&in.line, r)
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
		wasFirst := r.index == 0
		heap.Remove(&r.in.line, r.index)
		switch first := r.in.line.first(); {
		case first == nil:
			delete(q.reserved, r.in.peer)
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

// valueOf returns the value of a map's key, and creates it if necessary.
func valueOf[K comparable, V any](m map[K]*V, key K) *V {
	v := m[key]
	if v == nil {
		v = new(V)
		m[key] = v
	}
	return v
}
