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

// pacer limits the messages per second of a server. Waiting messages are served by tenant in turn. A reservation takes
// no token. The token is taken when the message is written, so a message that is cancelled or waits for db_proxy does
// not delay others.
type pacer struct {
	tokens *rate.Limiter // nil: no limit

	mu      sync.Mutex
	waiting *fairqueue.Queue[*reservation]
	// arrived counts messages, and held the reservations that are acquired and not released.
	arrived uint64
	held    int
	timer   *time.Timer
}

// reservation is a message's. The pacer's mu guards isHeld. Only the goroutine of the message uses the rest.
type reservation struct {
	pacer   *pacer
	flow    fairqueue.Flow
	number  uint64
	granted chan struct{} // closed under mu
	isHeld  bool
	// wasLate is true if the reservation was released, and there was no token when the message could be written.
	wasLate bool
}

// newPacer returns a pacer of messages per second. 0 means no limit. If burst is 0, it is perSecond.
func newPacer(perSecond, burst int) *pacer {
	p := &pacer{waiting: fairqueue.New(func(a, b *reservation) bool { return a.number < b.number })}
	if perSecond > 0 {
		p.tokens = rate.NewLimiter(rate.Limit(perSecond), cmp.Or(max(burst, 0), perSecond))
	}
	return p
}

// reservation returns a reservation for a tenant's message. It can be acquired several times, and keeps its place among
// the tenant's messages.
func (p *pacer) reservation(tenant string, group bool) *reservation {
	r := &reservation{pacer: p, flow: fairqueue.Flow{Tenant: tenant}}
	if group { // they wait long for db_proxy
		r.flow.Name = "groups"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrived++
	r.number = p.arrived
	return r
}

// acquire waits until there is a token for the message, or ctx is done. Until the release, it is for no other one.
func (r *reservation) acquire(ctx context.Context) error {
	p := r.pacer
	if err := ctx.Err(); err != nil || p.tokens == nil {
		return err
	}
	r.granted = make(chan struct{})
	p.mu.Lock()
	item := p.waiting.Push(r.flow, r)
	p.grant()
	p.mu.Unlock()
	select {
	case <-r.granted:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.waiting.Remove(item)
	p.mu.Unlock()
	r.release() // if it was granted concurrently
	return ctx.Err()
}

// take takes a token and releases the reservation, right before the message is written. It returns false if the
// reservation was released before, and no token is left: acquire it again. After that the message may be written one
// token early. Otherwise, while others wait, there might never be a token when db_proxy has a slot.
func (r *reservation) take() bool {
	p := r.pacer
	if p.tokens == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	least := p.held + 1
	if r.wasLate {
		least = p.held
	}
	switch {
	case r.isHeld:
		r.isHeld = false
		p.held--
	case p.tokens.TokensAt(now) < float64(least):
		r.wasLate = true
		return false
	}
	p.tokens.ReserveN(now, 1) // it is there, or the next one
	p.grant()
	return true
}

// release releases the reservation without taking a token.
func (r *reservation) release() {
	p := r.pacer
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.isHeld {
		r.isHeld = false
		p.held--
		p.grant()
	}
}

// grant grants reservations while there are tokens, and schedules itself for the next token. It needs mu.
func (p *pacer) grant() {
	tokens := p.tokens.TokensAt(time.Now())
	for tokens >= float64(p.held+1) {
		next, ok := p.waiting.Next(nil)
		if !ok {
			break
		}
		next.isHeld = true
		p.held++
		close(next.granted)
	}
	p.schedule(tokens)
}

// schedule calls grant when there is one token more, if that can be granted. It needs mu.
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
