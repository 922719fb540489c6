// SPDX-License-Identifier: Apache-2.0

package fairqueue

import (
	"container/heap"
	"container/list"
)

// Flow identifies items that wait for each other. An item that does not fit holds back its own flow only.
type Flow struct {
	// Tenant is a tenant of the queue, such as a namespace. Tenants are served in turn.
	Tenant string
	// Name distinguishes a tenant's flows. It may be empty.
	Name string
}

// Queue holds items that wait. The zero value is ready to use: the items of each flow are first in, first out.
type Queue[T any] struct {
	before func(a, b T) bool
	// tenants has the *tenant whose turn is next first. None is empty.
	tenants list.List
	byFlow  map[Flow]*flow[T]
	byName  map[string]*tenant
	pushed  uint64
	length  int
}

// tenant has at least one flow.
type tenant struct {
	element *list.Element
	// flows has the *flow whose turn is next first. None is empty.
	flows list.List
}

// flow is a heap.Interface, the item that is next first.
type flow[T any] struct {
	Flow
	queue   *Queue[T]
	element *list.Element
	items   []*Item[T]
}

// Item is the handle of an item.
type Item[T any] struct {
	Value T
	// flow in which it waits, or nil after it was removed.
	flow   *flow[T]
	number uint64
	index  int
}

// New returns a Queue whose flows are ordered by before. Items of which neither is before the other are first in,
// first out.
func New[T any](before func(a, b T) bool) *Queue[T] { return &Queue[T]{before: before} }

// Len counts the items that wait.
func (q *Queue[T]) Len() int { return q.length }

// Push adds an item to a flow.
func (q *Queue[T]) Push(to Flow, value T) *Item[T] {
	f := q.byFlow[to]
	if f == nil {
		f = q.add(to)
	}
	q.pushed++
	q.length++
	i := &Item[T]{Value: value, flow: f, number: q.pushed}
	heap.Push(f, i)
	return i
}

// Remove removes an item from the queue. It returns false if the item is not in the queue any more.
func (q *Queue[T]) Remove(i *Item[T]) bool {
	if i == nil || i.flow == nil {
		return false
	}
	f := i.flow
	heap.Remove(f, i.index)
	q.left(f)
	return true
}

// Next removes and returns the next item that fits. It returns false if there is none. It calls fits only for the first
// item of each flow. A nil fits permits all.
func (q *Queue[T]) Next(fits func(T) bool) (value T, ok bool) {
	for t := q.tenants.Front(); t != nil; t = t.Next() {
		of := t.Value.(*tenant)
		for e := of.flows.Front(); e != nil; e = e.Next() {
			f := e.Value.(*flow[T])
			if fits != nil && !fits(f.items[0].Value) {
				continue
			}
			// Their next turn is after all others.
			of.flows.MoveToBack(e)
			q.tenants.MoveToBack(t)
			i := heap.Pop(f).(*Item[T])
			q.left(f)
			return i.Value, true
		}
	}
	return value, false
}

// add adds an empty flow, and its tenant if it has no other.
func (q *Queue[T]) add(to Flow) *flow[T] {
	if q.byFlow == nil {
		q.byFlow, q.byName = map[Flow]*flow[T]{}, map[string]*tenant{}
	}
	t := q.byName[to.Tenant]
	if t == nil {
		t = &tenant{}
		t.element = q.tenants.PushBack(t)
		q.byName[to.Tenant] = t
	}
	f := &flow[T]{Flow: to, queue: q}
	f.element = t.flows.PushBack(f)
	q.byFlow[to] = f
	return f
}

// left counts out an item of a flow, and drops the flow and its tenant when they are empty.
func (q *Queue[T]) left(f *flow[T]) {
	q.length--
	if len(f.items) > 0 {
		return
	}
	delete(q.byFlow, f.Flow)
	t := q.byName[f.Tenant]
	if t.flows.Remove(f.element); t.flows.Len() == 0 {
		q.tenants.Remove(t.element)
		delete(q.byName, f.Tenant)
	}
}

// Len implements heap.Interface, like the others.
func (f *flow[T]) Len() int { return len(f.items) }

func (f *flow[T]) Less(i, j int) bool {
	a, b := f.items[i], f.items[j]
	if before := f.queue.before; before != nil {
		if before(a.Value, b.Value) {
			return true
		}
		if before(b.Value, a.Value) {
			return false
		}
	}
	return a.number < b.number
}

func (f *flow[T]) Swap(i, j int) {
	f.items[i], f.items[j] = f.items[j], f.items[i]
	f.items[i].index, f.items[j].index = i, j
}

func (f *flow[T]) Push(x any) {
	i := x.(*Item[T])
	i.index = len(f.items)
	f.items = append(f.items, i)
}

func (f *flow[T]) Pop() any {
	last := len(f.items) - 1
	i := f.items[last]
	f.items[last] = nil
	f.items = f.items[:last]
	i.flow = nil
	return i
}
