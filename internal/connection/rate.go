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
// is for the message that leaves, so what is cancelled, or waits for db_proxy, costs the others nothing.
type pacer struct {
	tokens *rate.Limiter // nil: no limit

	mu      sync.Mutex
	waiting *fairqueue.Queue[*turn]
	// arrived counts messages, and begun the turns that have begun and not ended.
	arrived uint64
	begun   int
	timer   *time.Timer
}

// turn is a message's. The pacer's mu guards hasBegun. Only the goroutine of the message uses the rest.
type turn struct {
	pacer    *pacer
	flow     fairqueue.Flow
	number   uint64
	began    chan struct{} // closed under mu
	hasBegun bool
}

// newPacer returns a pacer of messages per second. 0 means no limit. If burst is 0, it is perSecond.
func newPacer(perSecond, burst int) *pacer {
	p := &pacer{waiting: fairqueue.New(func(a, b *turn) bool { return a.number < b.number })}
	if perSecond > 0 {
		p.tokens = rate.NewLimiter(rate.Limit(perSecond), cmp.Or(max(burst, 0), perSecond))
	}
	return p
}

// turn returns the turn of a tenant's message. It begins several times if the message waits for something else in
// between, and keeps its place among the tenant's.
func (p *pacer) turn(tenant string, group bool) *turn {
	t := &turn{pacer: p, flow: fairqueue.Flow{Tenant: tenant}}
	if group { // they wait long for db_proxy
		t.flow.Name = "groups"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrived++
	t.number = p.arrived
	return t
}

// begin waits until there is a token for the message, or ctx is done. Until the turn ends, it is for no other one.
func (t *turn) begin(ctx context.Context) error {
	p := t.pacer
	if err := ctx.Err(); err != nil || p.tokens == nil {
		return err
	}
	t.began = make(chan struct{})
	p.mu.Lock()
	item := p.waiting.Push(t.flow, t)
	p.grant()
	p.mu.Unlock()
	select {
	case <-t.began:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.waiting.Remove(item)
	p.mu.Unlock()
	t.end() // if it was granted concurrently
	return ctx.Err()
}

// leave takes a token, and ends the turn: the message is about to be written. false: the turn has ended before, and
// there is no token left. It must begin again.
func (t *turn) leave() bool {
	p := t.pacer
	if p.tokens == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch {
	case t.hasBegun:
		t.hasBegun = false
		p.begun--
	case p.tokens.TokensAt(now) < float64(p.begun+1):
		return false
	}
	p.tokens.ReserveN(now, 1) // it is there
	p.grant()
	return true
}

// end ends a turn that has begun. It has cost nothing.
func (t *turn) end() {
	p := t.pacer
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.hasBegun {
		t.hasBegun = false
		p.begun--
		p.grant()
	}
}

// grant begins the turns for which there are tokens, and comes back when there is another token. It needs mu.
func (p *pacer) grant() {
	tokens := p.tokens.TokensAt(time.Now())
	for tokens >= float64(p.begun+1) {
		next, ok := p.waiting.Next(nil)
		if !ok {
			break
		}
		next.hasBegun = true
		p.begun++
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
