// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
)

// Limiter limits the requests in flight at one db_proxy. Requests about groups count against both of its limits,
// others only against the total. Free slots are granted to the namespaces of servers in turn, and to the servers of a
// namespace in turn. The tenants of the requests through a server also take turns, see fairqueue.WithTenant. Requests
// that wait for a limit of groups, or of their own server, hold no others back. A request may wait for several
// db_proxies.
type Limiter struct {
	limits  *Limits
	address string
	// mu is Limits.mu. It guards the limiter and its shares.
	mu              *sync.Mutex
	total, group    int
	used, usedGroup int
	// shares are those with a connection.
	shares map[*Quota]*share
	// ready are the shares of which a request may go on as soon as this limiter has a slot: users and groups.
	// Thousands of requests may wait, so granting and leaving take constant time.
	users, groups fairqueue.Queue[*share]
	// groupNext: a request about a group gets the next slot if both wait.
	groupNext bool

	quarantine quarantine
	late       lateCalls
	// expiry forgets a db_proxy that hung, and has no connections.
	expiry *time.Timer
}

// share is what a Quota uses of a Limiter.
type share struct {
	limiter         *Limiter
	quota           *Quota
	connections     int
	used, usedGroup int
	users, groups   waiters
}

// waiters are the requests that wait for a slot of a share.
type waiters struct {
	fairqueue.Queue[*waiter]
	// ready is the place in the queue of the limiter, if the share has one.
	ready *fairqueue.Item[*share]
}

// waiter is a request that waits for a slot of any of some shares.
type waiter struct {
	group  bool
	shares []*share
	// moved, if closed, ends the wait.
	moved <-chan struct{}
	// queued, if set, is called if there is no slot at once.
	queued func()
	// places are those in the queues of the shares.
	places []*fairqueue.Item[*waiter]
	// slot is set when granted is closed, under mu.
	slot    *slot
	granted chan struct{}
}

// slot permits a request to one db_proxy. The Limiter's mu guards it.
type slot struct {
	share           *share
	group, returned bool
}

// errMoved ends a wait for a slot when the db_proxies of the client have changed.
var errMoved = errors.New("other db_proxies are connected")

// acquire waits for a slot of the first of the waiter's shares that has one, until ctx is done. Of those that have one
// now, it takes the first.
func (l *Limits) acquire(ctx context.Context, w *waiter) (*slot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.granted = make(chan struct{})
	l.mu.Lock()
	w.enter(fairqueue.Flow{Tenant: fairqueue.TenantOf(ctx)})
	isQueued := w.slot == nil
	l.mu.Unlock()
	if isQueued && w.queued != nil {
		w.queued()
	}
	var err error
	select {
	case <-w.granted:
		return w.slot, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-w.moved:
		err = errMoved
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.slot != nil { // granted concurrently
		return w.slot, nil
	}
	w.leave()
	return nil, err
}

// enter waits in the queues of all shares. It needs mu.
func (w *waiter) enter(flow fairqueue.Flow) {
	for _, s := range w.shares {
		w.places = append(w.places, s.waitersOf(w.group).Push(flow, w))
		s.update()
	}
	for _, s := range w.shares {
		s.limiter.grant()
	}
}

// leave leaves the queues of all shares. It needs mu.
func (w *waiter) leave() {
	for i, s := range w.shares {
		if s.waitersOf(w.group).Remove(w.places[i]) {
			s.update()
		}
	}
}

// release returns the slot, unless it has been returned.
func (s *slot) release() {
	l := s.share.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	s.put()
	l.grant()
	l.forget()
}

// put returns the slot, unless it has been returned. It needs mu, and grant must be called after it.
func (s *slot) put() {
	if s.returned {
		return
	}
	s.returned = true
	s.count(-1)
}

// count adds n to the used slots. It needs mu.
func (s *slot) count(n int) {
	of := s.share
	of.used += n
	of.limiter.used += n
	if s.group {
		of.usedGroup += n
		of.limiter.usedGroup += n
	}
	of.update()
}

// update queues the share for the classes of requests that its own limits permit. It needs mu.
func (s *share) update() {
	l, q := s.limiter, s.quota
	permits := q.MaxInFlight == 0 || s.used < q.MaxInFlight
	s.queue(&l.users, &s.users, permits)
	s.queue(&l.groups, &s.groups, permits && (q.MaxGroupInFlight == 0 || s.usedGroup < q.MaxGroupInFlight))
}

func (s *share) queue(ready *fairqueue.Queue[*share], w *waiters, permits bool) {
	switch permits = permits && w.Len() > 0; {
	case permits && w.ready == nil:
		w.ready = ready.Push(fairqueue.Flow{Tenant: s.quota.Tenant}, s)
	case !permits && w.ready != nil:
		ready.Remove(w.ready)
		w.ready = nil
	}
}

// grant grants free slots. It needs mu.
func (l *Limiter) grant() {
	for l.used < l.total {
		group := l.groups.Len() > 0 && l.usedGroup < l.group
		if l.users.Len() > 0 {
			group = group && l.groupNext
		} else if !group {
			return
		}
		l.groupNext = !group
		ready := &l.users
		if group {
			ready = &l.groups
		}
		s, _ := ready.Next(nil)
		w := s.waitersOf(group)
		w.ready = nil
		next, _ := w.Next(nil)
		next.slot = &slot{share: s, group: group}
		next.slot.count(1)
		next.leave()
		close(next.granted)
	}
}

func (s *share) waitersOf(group bool) *waiters {
	if group {
		return &s.groups
	}
	return &s.users
}
