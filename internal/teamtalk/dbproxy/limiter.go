// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"slices"
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
	mu              sync.Mutex
	total, group    int
	used, usedGroup int
	waiting         []*waiter // oldest first

	quarantine quarantine
}

// waiter is a waiting Acquire.
type waiter struct {
	group   bool
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
	w := &waiter{group: group, granted: make(chan struct{})}
	l.mu.Lock()
	l.waiting = append(l.waiting, w)
	l.grant()
	l.mu.Unlock()
	select {
	case <-w.granted:
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		if i := slices.Index(l.waiting, w); i >= 0 {
			l.waiting = slices.Delete(l.waiting, i, i+1)
			return nil, ctx.Err()
		}
		// Granted concurrently.
	}
	return sync.OnceFunc(func() { l.release(group) }), nil
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
	waiting := l.waiting[:0]
	for _, w := range l.waiting {
		if l.used >= l.total || w.group && l.usedGroup >= l.group {
			waiting = append(waiting, w)
			continue
		}
		l.used++
		if w.group {
			l.usedGroup++
		}
		close(w.granted)
	}
	clear(l.waiting[len(waiting):])
	l.waiting = waiting
}
