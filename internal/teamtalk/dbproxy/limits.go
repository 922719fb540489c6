// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// DefaultMaxInFlight is enough to saturate a db_proxy with requests about single chats.
	DefaultMaxInFlight = 64
	// DefaultMaxGroupInFlight is the number that a stock db_proxy can handle permanently. With more concurrent group
	// requests, its threads hang one after the other.
	DefaultMaxGroupInFlight = 1
	// stuckMemory is longer than any pause between dials.
	stuckMemory = 5 * time.Minute
)

// Limits limits the requests in flight at each db_proxy. A db_proxy is the address that a connection is made to,
// whatever name it was found by. All clients of a process share one Limits. It is safe for concurrent use.
type Limits struct {
	total, group int

	mu       sync.Mutex
	limiters map[string]*Limiter
}

// NewLimits returns Limits of total requests for each db_proxy, of which group may be about groups. The minimum of
// both is 1.
func NewLimits(total, group int) *Limits {
	return &Limits{total: max(1, total), group: max(1, group), limiters: map[string]*Limiter{}}
}

// Quota limits what one TeamTalkServer uses of the Limits of each db_proxy. Its clients share one.
type Quota struct {
	// Tenant is the namespace. Free slots are granted to tenants in turn, and each has a share of Memory.
	Tenant string
	// MaxInFlight and MaxGroupInFlight limit the requests in flight at each db_proxy. 0: only Limits does.
	MaxInFlight, MaxGroupInFlight int
}

// connect counts a connection to an address, and returns the share of a quota there.
func (l *Limits) connect(address string, q *Quota) *share {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.limiters[address]
	if of == nil {
		of = &Limiter{
			limits: l, address: address, mu: &l.mu, total: l.total, group: l.group, shares: map[*Quota]*share{},
		}
		l.limiters[address] = of
	}
	s := of.shares[q]
	if s == nil {
		s = &share{limiter: of, quota: q}
		of.shares[q] = s
	}
	s.connections++
	if of.expiry != nil {
		of.expiry.Stop()
		of.expiry = nil
	}
	return s
}

// disconnect undoes connect.
func (s *share) disconnect() {
	l := s.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.connections--; s.connections > 0 {
		return
	}
	delete(l.shares, s.quota)
	l.forget()
}

// forget drops the limiter of a db_proxy that has neither connections nor requests in flight. One that hung is
// remembered for some time, as it may hang on the next connection as well. It needs mu.
func (l *Limiter) forget() {
	switch {
	case !l.idle():
	case l.quarantine.stuck == 0:
		delete(l.limits.limiters, l.address)
	case l.expiry == nil:
		l.expiry = time.AfterFunc(stuckMemory, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.idle() {
				l.usedGroup -= l.quarantine.stuck
				l.quarantine.stuck = 0
				l.forget()
			}
		})
	}
}

// idle is false while slots are quarantined, even those that were released early and do not count as used.
func (l *Limiter) idle() bool {
	return len(l.shares) == 0 && l.used == 0 && len(l.quarantine.held) == 0 && l.limits.limiters[l.address] == l
}

// loopback stands for all addresses of this machine: a db_proxy listens at all of them.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// addressOf returns the same text for all forms of the address of a db_proxy.
func addressOf(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.IsLoopback() {
		ip = loopback
	}
	return netip.AddrPortFrom(ip, tcp.AddrPort().Port()).String()
}
