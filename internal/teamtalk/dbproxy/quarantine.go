// SPDX-License-Identifier: Apache-2.0

package dbproxy

import "time"

// maxProbePause times the quarantine is the longest pause between probes.
const maxProbePause = 3

// quarantine holds the slots of group requests whose connections were closed without an answer. db_proxy keeps
// the database connections of such requests while it hangs, even after the connection has ended. So a
// slot is held for a minimum time, and then until another group request was answered. After the minimum
// time it only counts against the group limit. Without an answer, one slot at a time is released
// as a probe: its request shows whether db_proxy has recovered.
//
// The zero value is ready to use. Limiter.mu guards it.
type quarantine struct {
	// answers counts answered group requests.
	answers uint64
	// stuck counts the slots that are held beyond the minimum time.
	stuck int
	// probing: a slot was released less than pause ago. pause is 0 after an answer.
	probing bool
	pause   time.Duration
}

// answered records the answer to a group request: it releases all stuck slots.
func (l *Limiter) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.quarantine
	l.usedGroup -= r.stuck
	r.answers++
	r.stuck, r.pause = 0, 0
	l.grant()
}

// quarantineSlot holds the slot of a group request instead of releasing it.
func (l *Limiter) quarantineSlot(atLeast time.Duration) {
	l.mu.Lock()
	before := l.quarantine.answers
	l.mu.Unlock()
	time.AfterFunc(atLeast, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.put(true)
		if r := &l.quarantine; r.answers == before {
			l.usedGroup++
			r.stuck++
			l.probe(atLeast)
		}
		l.grant()
	})
}

// probe releases a stuck slot, unless a slot is free or was released recently. It needs mu.
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
	if l.usedGroup >= l.group {
		r.stuck--
		l.usedGroup--
	}
}
