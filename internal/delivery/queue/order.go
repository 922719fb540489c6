// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"time"
)

// Order says which of two messages is sent first: by creation time, then by Seen, then by name.
type Order struct {
	Created time.Time
	// Seen is a resourceVersion: creation times are whole seconds.
	Seen string
	Name string
}

// Before reports whether o is sent before p.
func (o Order) Before(p Order) bool {
	return cmp.Or(
		o.Created.Compare(p.Created),
		// Decimal numbers without leading zeros, of any length.
		cmp.Compare(len(o.Seen), len(p.Seen)),
		cmp.Compare(o.Seen, p.Seen),
		cmp.Compare(o.Name, p.Name),
	) < 0
}

// entry is embedded in items of a line.
type entry struct {
	order Order
	// index in the line; negative: in none.
	index int
}

func (e *entry) orderOf() *Order { return &e.order }
func (e *entry) indexOf() *int   { return &e.index }

// lined is an item of a line.
type lined interface {
	orderOf() *Order
	indexOf() *int
}

// line is a heap.Interface, the oldest first.
type line[T lined] []T

func (l line[T]) first() (oldest T) {
	if len(l) > 0 {
		oldest = l[0]
	}
	return oldest
}

// Len implements heap.Interface, like the others.
func (l line[T]) Len() int           { return len(l) }
func (l line[T]) Less(i, j int) bool { return l[i].orderOf().Before(*l[j].orderOf()) }
func (l line[T]) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	*l[i].indexOf(), *l[j].indexOf() = i, j
}

func (l *line[T]) Push(x any) {
	e := x.(T)
	*e.indexOf() = len(*l)
	*l = append(*l, e)
}

func (l *line[T]) Pop() any {
	last := len(*l) - 1
	e := (*l)[last]
	clear((*l)[last:])
	*l = (*l)[:last]
	*e.indexOf() = -1
	return e
}
