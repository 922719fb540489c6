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
// others only against the total. Free slots are granted to the namespaces of servers in turn, to the servers of one in
// turn, and to the tenants of the requests through a server in turn; see fairqueue.WithTenant. Requests that wait for
// a limit of groups, or of their own server, hold no others back.
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
	// closed is closed when there are no connections.
	closed chan struct{}
}

// waiters are the requests of a share: what is closed when they have a slot.
type waiters struct {
	fairqueue.Queue[chan struct{}]
	// ready is the place in the queue of the limiter, if the share has one.
	ready *fairqueue.Item[*share]
}

// errNoConnections reports a share whose connections have all ended.
var errNoConnections = errors.New("no connection to this db_proxy is left")

// acquire waits for a slot until ctx is done, or the share has no connections. Calls of release after the first one
// do nothing.
func (s *share) acquire(ctx context.Context, group bool) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	mu := s.limiter.mu
	granted := make(chan struct{}) // closed under mu
	mu.Lock()
	waiting := s.waitersOf(group)
	item := waiting.Push(fairqueue.Flow{Tenant: fairqueue.TenantOf(ctx)}, granted)
	s.update()
	s.limiter.grant()
	mu.Unlock()
	select {
	case <-granted:
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.closed:
		err = errNoConnections
	}
	if err != nil {
		mu.Lock()
		defer mu.Unlock()
		select {
		case <-granted: // concurrently
		default:
			waiting.Remove(item)
			s.update()
			return nil, err
		}
	}
	return sync.OnceFunc(func() { s.release(group) }), nil
}

func (s *share) release(group bool) {
	s.limiter.mu.Lock()
	defer s.limiter.mu.Unlock()
	s.put(group)
	s.limiter.put(group)
	s.limiter.grant()
	s.limiter.forget()
}

// put returns a slot of the share. It needs mu.
func (s *share) put(group bool) {
	s.used--
	if group {
		s.usedGroup--
	}
	s.update()
}

// put returns a slot. It needs mu.
func (l *Limiter) put(group bool) {
	l.used--
	if group {
		l.usedGroup--
	}
}

// update queues the share for what its own limits permit. It needs mu.
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
		granted, _ := w.Next(nil)
		l.used++
		s.used++
		if group {
			l.usedGroup++
			s.usedGroup++
		}
		s.update()
		close(granted)
	}
}

func (s *share) waitersOf(group bool) *waiters {
	if group {
		return &s.groups
	}
	return &s.users
}
