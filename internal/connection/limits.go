// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"sync"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// limits are the limiters by db_proxy address. TeamTalkServers that name the same address share one, with
// the lowest of their limits: they protect the db_proxy.
type limits struct {
	mu        sync.Mutex
	byAddress map[string]*addressLimit
}

type addressLimit struct {
	limiter *dbproxy.Limiter
	claims  map[*Session]bounds
}

type bounds struct{ total, group int }

// claim adds the limits of a session for an address and returns the shared limiter.
func (l *limits) claim(s *Session, address string, total, group int) *dbproxy.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddress == nil {
		l.byAddress = map[string]*addressLimit{}
	}
	a, ok := l.byAddress[address]
	if !ok {
		a = &addressLimit{limiter: dbproxy.NewLimiter(total, group), claims: map[*Session]bounds{}}
		l.byAddress[address] = a
	}
	a.claims[s] = bounds{total, group}
	a.apply()
	return a.limiter
}

// release removes the limits of a session after its last request.
func (l *limits) release(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for address, a := range l.byAddress {
		if _, ok := a.claims[s]; !ok {
			continue
		}
		delete(a.claims, s)
		if len(a.claims) == 0 {
			delete(l.byAddress, address)
			continue
		}
		a.apply()
	}
}

// apply sets the lowest limits.
func (a *addressLimit) apply() {
	var lowest bounds
	for _, b := range a.claims {
		if lowest.total == 0 || b.total < lowest.total {
			lowest.total = b.total
		}
		if lowest.group == 0 || b.group < lowest.group {
			lowest.group = b.group
		}
	}
	a.limiter.SetLimits(lowest.total, min(lowest.total, lowest.group))
}
