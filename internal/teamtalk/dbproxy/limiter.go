// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"container/list"
	"context"
	"sync"
)

const (
	// defaultTotal is enough to saturate a db_proxy with requests about single chats.
	defaultTotal = 64
	// defaultGroup is half of what a stock db_proxy with its pool of 16 database connections handles. Each
	// group request holds one connection while it acquires a second one; 32 of them deadlock.
	defaultGroup = 8
)

// Limiter limits the requests in flight at a db_proxy. Requests about groups count against both of its limits,
// others only against the total. Slots are granted in order, except that requests that wait for
// the group limit do not block others. It is safe for concurrent use.
type Limiter struct {
	mu                     sync.Mutex
	total, group           int
	used, usedGroup        int
	tickets                uint64
	waiting, waitingGroups list.List // of *waiter, oldest first

	quarantine quarantine
}

// waiter is a waiting Acquire.
type waiter struct {
	ticket  uint64
	granted chan struct{}
}

// NewLimiter returns a Limiter of total requests, of which group may be about groups. The minimum of both
// is 1.
func NewLimiter(total, group int) *Limiter {
	l := &Limiter{}
	l.SetLimits(total, group)
	return l
}

// SetLimits changes the limits. Requests in flight over a lower limit are not affected.
func (l *Limiter) SetLimits(total, group int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total, l.group = max(1, total), max(1, group)
	l.grant()
}

// Acquire waits for a slot until ctx is done. Calls of release after the first one do nothing.
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
	element := queue.PushBack(w)
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
		// Granted concurrently: pass it on.
		l.put(group)
		l.grant()
	default:
		queue.Remove(element)
	}
	return nil, ctx.Err()
}

func (l *Limiter) release(group bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(group)
	l.grant()
}

// put returns a slot. It needs mu.
func (l *Limiter) put(group bool) {
	l.used--
	if group {
		l.usedGroup--
	}
}

// grant grants free slots to the oldest waiters. It needs mu.
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

// ticket returns the ticket of the waiter at e.
func ticket(e *list.Element) uint64 {
	w, _ := e.Value.(*waiter)
	return w.ticket
}
