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
	mu              sync.Mutex
	total, group    int
	used, usedGroup int
	// The waiters, oldest first. Thousands may wait, so granting and leaving take constant time.
	waitingUsers, waitingGroups list.List
	// arrived numbers the waiters in order of arrival.
	arrived uint64

	quarantine quarantine
	late       lateCalls
}

// waiter is a waiting Acquire.
type waiter struct {
	number  uint64
	group   bool
	granted chan struct{} // closed under mu
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
	l.arrived++
	w := &waiter{number: l.arrived, group: group, granted: make(chan struct{})}
	waiting := l.waitersOf(group)
	e := waiting.PushBack(w)
	l.grant()
	l.mu.Unlock()
	select {
	case <-w.granted:
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		select {
		case <-w.granted: // concurrently
		default:
			waiting.Remove(e)
			return nil, ctx.Err()
		}
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
	for l.used < l.total {
		e := l.waitingUsers.Front()
		g := l.waitingGroups.Front()
		if g != nil && l.usedGroup < l.group && (e == nil || g.Value.(*waiter).number < e.Value.(*waiter).number) {
			e = g
		}
		if e == nil {
			return
		}
		w := e.Value.(*waiter)
		l.waitersOf(w.group).Remove(e)
		l.used++
		if w.group {
			l.usedGroup++
		}
		close(w.granted)
	}
}

func (l *Limiter) waitersOf(group bool) *list.List {
	if group {
		return &l.waitingGroups
	}
	return &l.waitingUsers
}
