package delivery

import "time"

// Order says which of two messages of a conversation leaves first: by creation,
// then by when it was first seen, then by name.
type Order struct {
	Created time.Time
	// Seen is the resourceVersion at which the message was first seen: creation
	// times are whole seconds.
	Seen string
	Name string
}

func (o Order) before(p Order) bool {
	switch {
	case !o.Created.Equal(p.Created):
		return o.Created.Before(p.Created)
	// Decimal numbers without leading zeros, of any length.
	case len(o.Seen) != len(p.Seen):
		return len(o.Seen) < len(p.Seen)
	case o.Seen != p.Seen:
		return o.Seen < p.Seen
	}
	return o.Name < p.Name
}

// ordered is what stands in a line by its Order, and knows where; -1: nowhere.
type ordered interface {
	rank() Order
	moved(index int)
}

// byOrder is a heap.Interface: the oldest comes first.
type byOrder[T ordered] []T

// Len implements heap.Interface, like the others.
func (l byOrder[T]) Len() int           { return len(l) }
func (l byOrder[T]) Less(i, j int) bool { return l[i].rank().before(l[j].rank()) }
func (l byOrder[T]) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].moved(i)
	l[j].moved(j)
}

// Push implements heap.Interface.
func (l *byOrder[T]) Push(x any) {
	e := x.(T)
	e.moved(len(*l))
	*l = append(*l, e)
}

// Pop implements heap.Interface.
func (l *byOrder[T]) Pop() any {
	old := *l
	e := old[len(old)-1]
	var none T
	old[len(old)-1] = none
	*l = old[:len(old)-1]
	e.moved(-1)
	return e
}
