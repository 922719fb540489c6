// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"cmp"
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
)

// pacer limits the messages per second of a server. Those that wait take turns by tenant. A turn takes no token: that
// is for the message that leaves, so what is cancelled costs the others nothing.
type pacer struct {
	tokens *rate.Limiter // nil: no limit

	mu      sync.Mutex
	waiting fairqueue.Queue[*turn]
	// users and groups are the turns that have begun, and whose messages have not left.
	users, groups int
	timer         *time.Timer
}

// turn is a message's. Only its goroutine uses it, once it has begun.
type turn struct {
	pacer *pacer
	group bool
	began chan struct{} // closed under mu
	ended bool
}

// newPacer returns a pacer of messages per second. 0 means no limit. If burst is 0, it is perSecond.
func newPacer(perSecond, burst int) *pacer {
	p := &pacer{}
	if perSecond > 0 {
		p.tokens = rate.NewLimiter(rate.Limit(perSecond), cmp.Or(max(burst, 0), perSecond))
	}
	return p
}

// begin waits until there is a token for a message of the context's tenant, or ctx is done. The turn must be ended.
// Messages to groups may wait long for db_proxy after that, and hold back others to groups only.
func (p *pacer) begin(ctx context.Context, group bool) (*turn, error) {
	t := &turn{pacer: p, group: group, began: make(chan struct{})}
	if err := ctx.Err(); err != nil || p.tokens == nil {
		return t, err
	}
	flow := fairqueue.Flow{Tenant: fairqueue.TenantOf(ctx)}
	if group {
		flow.Name = "groups"
	}
	p.mu.Lock()
	item := p.waiting.Push(flow, t)
	p.grant()
	p.mu.Unlock()
	select {
	case <-t.began:
		return t, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	granted := !p.waiting.Remove(item)
	p.mu.Unlock()
	if granted { // concurrently
		t.end()
	}
	return t, ctx.Err()
}

// leave takes the token, and ends the turn: the message is about to be written.
func (t *turn) leave() {
	if t.pacer.tokens != nil {
		// It is there, unless messages to users have taken those that this one to a group has waited with: then the
		// next ones wait a little longer.
		t.pacer.tokens.ReserveN(time.Now(), 1)
	}
	t.end()
}

// end ends a turn. Without leave, it has cost nothing.
func (t *turn) end() {
	p := t.pacer
	if p.tokens == nil || t.ended {
		return
	}
	t.ended = true
	p.mu.Lock()
	defer p.mu.Unlock()
	*p.held(t.group)--
	p.grant()
}

// held returns the counter of turns.
func (p *pacer) held(group bool) *int {
	if group {
		return &p.groups
	}
	return &p.users
}

// grant begins the turns for which there are tokens, and comes back when there is another token. It needs mu.
func (p *pacer) grant() {
	tokens := p.tokens.TokensAt(time.Now())
	for tokens >= float64(p.users+1) {
		next, ok := p.waiting.Next(func(t *turn) bool { return !t.group || tokens >= float64(p.users+p.groups+1) })
		if !ok {
			break
		}
		*p.held(next.group)++
		close(next.began)
	}
	p.schedule(tokens)
}

// schedule calls grant when there is one token more, if that can begin a turn. It needs mu.
func (p *pacer) schedule(tokens float64) {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if p.waiting.Len() == 0 || tokens >= float64(p.tokens.Burst()) {
		return
	}
	missing := max(1, math.Floor(tokens)+1) - tokens
	wait := time.Duration(missing/float64(p.tokens.Limit())*float64(time.Second)) + 1
	p.timer = time.AfterFunc(wait, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.grant()
	})
}
