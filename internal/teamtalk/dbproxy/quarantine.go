package dbproxy

import "time"

// probePauses: a db_proxy that answers no group request at all is given one more after
// a pause, which doubles up to so many times the first.
const probePauses = 3

// quarantine are the slots of group requests whose connections were ended as nothing was
// answered. Ending a connection ends nothing in db_proxy: it keeps database connections
// for each of them, for as long as it hangs. So a slot is kept for a time, and then
// until some other group request has been answered since; from then on it counts against
// the group's bound alone, as nobody may ask about groups any more. Without an answer, a
// single slot at a time is given up: the request that takes it shows whether db_proxy is
// back. The zero value is ready to use; the Limiter's mu guards it.
type quarantine struct {
	// answers counts group requests that were answered.
	answers uint64
	// stuck counts the slots that have had their time.
	stuck int
	// probing: one was given up not long ago, and pause is for how long no other is;
	// 0: db_proxy has answered.
	probing bool
	pause   time.Duration
}

// answered says that db_proxy has answered a group request.
func (l *Limiter) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.quarantine
	l.usedGroup -= r.stuck
	r.answers++
	r.stuck, r.pause = 0, 0
	l.grant()
}

// rest keeps the slot of a group request, which must not be released any more, for a
// time at least.
func (l *Limiter) rest(atLeast time.Duration) {
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

// probe gives one slot up, unless one is free or was given up not long ago. The caller
// holds mu.
func (l *Limiter) probe(first time.Duration) {
	r := &l.quarantine
	if r.probing || r.stuck == 0 {
		return
	}
	r.pause = min(max(first, 2*r.pause), probePauses*first)
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
