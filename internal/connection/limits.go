// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"math"
	"sync"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// limits are the limiters by db_proxy address. TeamTalkServers with the same address share one, with the lowest
// limits.
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
		if delete(a.claims, s); len(a.claims) > 0 {
			a.apply()
		} else {
			delete(l.byAddress, address)
		}
	}
}

// apply sets the lowest limits.
func (a *addressLimit) apply() {
	lowest := bounds{math.MaxInt, math.MaxInt}
	for _, b := range a.claims {
		lowest = bounds{min(lowest.total, b.total), min(lowest.group, b.group)}
	}
	a.limiter.SetLimits(lowest.total, min(lowest.total, lowest.group))
}
