package dbproxy

import (
	"container/list"
	"context"
	"sync"
)

const (
	// defaultTotal saturates a db_proxy with single-chat requests.
	defaultTotal = 64
	// defaultGroup is half of what a stock db_proxy's pool of 16 database
	// connections answers; each group request holds one while it takes a
	// second, and 32 at once deadlock the pool for good.
	defaultGroup = 8
)

// Limiter bounds the requests in flight at one db_proxy. Requests that touch a
// group count against both of its bounds, others against the total alone. Slots
// are given in the order in which they were asked for, except that requests
// which only wait for the group bound hold nobody else back.
//
// It is shared by every client of one address, and safe for concurrent use.
type Limiter struct {
	mu                     sync.Mutex
	total, group           int
	used, usedGroup        int
	tickets                uint64
	waiting, waitingGroups list.List // of *waiter, oldest first

	quarantine quarantine
}

// waiter is one Acquire that waits.
type waiter struct {
	ticket  uint64
	granted chan struct{}
}

// NewLimiter returns a Limiter of total requests at once, of which group may
// touch groups. A bound below 1 counts as 1.
func NewLimiter(total, group int) *Limiter {
	l := &Limiter{}
	l.SetLimits(total, group)
	return l
}

// SetLimits changes the bounds. Requests over a lowered bound finish; no new
// ones start until there is room.
func (l *Limiter) SetLimits(total, group int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total, l.group = max(1, total), max(1, group)
	l.grant()
}

// Acquire waits for a slot until ctx is done, and then returns ctx's error.
// release gives the slot back; calls after the first do nothing.
func (l *Limiter) Acquire(ctx context.Context, group bool) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	queue := &l.waiting
	if group {
		queue = &l.waitingGroups
	}
	l.tickets++
	w := &waiter{ticket: l.tickets, granted: make(chan struct{})}
	place := queue.PushBack(w)
	l.grant()
	l.mu.Unlock()

	release = sync.OnceFunc(func() { l.release(group) })
	select {
	case <-w.granted:
		return release, nil
	default:
	}
	select {
	case <-w.granted:
		return release, nil
	case <-ctx.Done():
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.granted:
		// Granted in the same moment; somebody else can use it.
		l.put(group)
		l.grant()
	default:
		queue.Remove(place)
	}
	return nil, ctx.Err()
}

func (l *Limiter) release(group bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(group)
	l.grant()
}

// put takes a slot back. The caller holds mu.
func (l *Limiter) put(group bool) {
	l.used--
	if group {
		l.usedGroup--
	}
}

// grant gives slots to those that waited longest, as long as there are any.
// The caller holds mu.
func (l *Limiter) grant() {
	for l.used < l.total {
		next := l.waiting.Front()
		queue := &l.waiting
		if g := l.waitingGroups.Front(); g != nil && l.usedGroup < l.group {
			if next == nil || ticket(g) < ticket(next) {
				next, queue = g, &l.waitingGroups
				l.usedGroup++
			}
		}
		if next == nil {
			return
		}
		l.used++
		w, _ := queue.Remove(next).(*waiter)
		close(w.granted)
	}
}

// ticket returns when the waiter at e came.
func ticket(e *list.Element) uint64 {
	w, _ := e.Value.(*waiter)
	return w.ticket
}
