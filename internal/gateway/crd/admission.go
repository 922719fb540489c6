// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// minPlaces is the least limit of an admission. An operator with stock servers on two cores finishes 31 messages per
// second: 36 within half of the default wait.
const minPlaces = 36

// admission limits the unfinished messages of one server for which requests wait. If requests arrive faster than
// messages finish, they wait before their message is created: a request that times out there has no effect. The limit
// is the number of messages that finished in a second, so that a created message takes about a second.
type admission struct {
	mu sync.Mutex
	// waiting are those without a place. Callers take turns.
	waiting fairqueue.Queue[*place]
	// held counts all places, and heldBy those of each caller. A caller may have three quarters: its messages may take a
	// long time, such as those to unknown users.
	held   int
	heldBy map[string]int
	// finished counts the messages that have finished while they were waited for.
	finished uint64
	rate     rate
}

// place is held by a request while it waits for its message.
type place struct {
	caller   string
	admitted chan struct{}
	isHeld   bool
}

func newAdmission() *admission { return &admission{heldBy: map[string]int{}} }

// acquire waits for a place until ctx is done. If no message has finished meanwhile, the operator or TeamTalk is away:
// the message may be created without a place, and is delivered later.
func (a *admission) acquire(ctx context.Context, caller string) (*place, error) {
	p := &place{caller: caller, admitted: make(chan struct{})}
	a.mu.Lock()
	finished := a.finished
	item := a.waiting.Push(fairqueue.Flow{Tenant: caller}, p)
	a.admit(time.Now())
	a.mu.Unlock()
	select {
	case <-p.admitted:
		return p, nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting.Remove(item) && a.finished != finished {
		return nil, api.Refuse(v1alpha1.ReasonServerNotReady, "messages arrive faster than they are delivered: "+
			"this request was not recorded, and nothing was sent for it; try again later")
	}
	return p, nil
}

// release releases a place.
func (a *admission) release(p *place, finished bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if finished {
		a.finished++
		a.rate.add(now)
	}
	if p.isHeld {
		a.held--
		if a.heldBy[p.caller]--; a.heldBy[p.caller] == 0 {
			delete(a.heldBy, p.caller)
		}
	}
	a.admit(now)
}

func (a *admission) admit(now time.Time) {
	limit := max(minPlaces, a.rate.at(now))
	fits := func(p *place) bool { return a.held < limit && a.heldBy[p.caller] < limit*3/4 }
	for {
		p, ok := a.waiting.Next(fits)
		if !ok {
			return
		}
		p.isHeld = true
		a.held++
		a.heldBy[p.caller]++
		close(p.admitted)
	}
}

// rate counts per second.
type rate struct {
	second        int64
	count, before int
}

func (r *rate) add(now time.Time) {
	r.at(now)
	r.count++
}

// at returns the count of the last full second, or of this one if it is higher already.
func (r *rate) at(now time.Time) int {
	if second := now.Unix(); second != r.second {
		last := r.count
		if second != r.second+1 {
			last = 0
		}
		*r = rate{second: second, before: last}
	}
	return max(r.count, r.before)
}
