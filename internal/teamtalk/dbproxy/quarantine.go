// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"slices"
	"time"
)

// maxProbePause times the quarantine is the longest pause between probes.
const maxProbePause = 3

// quarantine holds the slots of group requests whose connections were closed without an answer, and which no other
// group request has overtaken. db_proxy keeps the database connections of such requests while it hangs, even after
// the connection has ended. So a slot is held until a group request that was sent later is answered. After a minimum
// time it only counts against the group limit. Without an answer, one slot at a time is released
// as a probe: its request shows whether db_proxy has recovered.
//
// The zero value is ready to use. Limiter.mu guards it.
type quarantine struct {
	// unanswered: no group request was answered since a slot was quarantined.
	unanswered bool
	// held are the calls whose slots are held for the minimum time.
	held []*call
	// stuck counts the slots that are held beyond the minimum time.
	stuck int
	// probing: a slot was released less than pause ago. pause is 0 after an answer.
	probing bool
	pause   time.Duration
}

// recovered is called after the answer to a group request that was sent at a time. It frees the stuck slots, and
// returns those of earlier requests. It needs mu, and grant must be called after it.
func (l *Limiter) recovered(sent time.Time) {
	q := &l.quarantine
	l.usedGroup -= q.stuck
	q.stuck, q.pause = 0, 0
	q.held = slices.DeleteFunc(q.held, func(cl *call) bool {
		overtaken := cl.lastWritten().Before(sent)
		if overtaken {
			cl.slot.put()
		}
		return overtaken
	})
	q.unanswered = len(q.held) > 0
}

// quarantineSlot holds the slot of a group request instead of releasing it. One that was returned early counts against
// the limit after the minimum time.
func (l *Limiter) quarantineSlot(atLeast time.Duration, cl *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.late.newest.group.After(cl.lastWritten()) { // overtaken
		cl.slot.put()
		l.grant()
		l.forget()
		return
	}
	l.quarantine.held = append(l.quarantine.held, cl)
	l.quarantine.unanswered = true
	time.AfterFunc(atLeast, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.becomesStuck(cl, atLeast)
		l.grant()
		l.forget()
	})
}

// becomesStuck returns the slot of a call and counts it as stuck, unless the call was overtaken. In between it would
// count twice, and a probe would free too many others. It needs mu, and grant must be called after it.
func (l *Limiter) becomesStuck(cl *call, first time.Duration) {
	q := &l.quarantine
	i := slices.Index(q.held, cl)
	if i < 0 {
		return
	}
	q.held = slices.Delete(q.held, i, i+1)
	cl.slot.put()
	l.usedGroup++
	q.stuck++
	l.probe(first)
}

// probe releases a stuck slot, and those over the limit, unless a slot is free or was released recently. It needs mu,
// and grant must be called after it.
func (l *Limiter) probe(first time.Duration) {
	r := &l.quarantine
	if r.probing || r.stuck == 0 {
		return
	}
	r.pause = min(max(first, 2*r.pause), maxProbePause*first)
	r.probing = true
	time.AfterFunc(r.pause, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		r.probing = false
		l.probe(first)
		l.grant()
	})
	for r.stuck > 0 && l.usedGroup >= l.group {
		r.stuck--
		l.usedGroup--
	}
}
