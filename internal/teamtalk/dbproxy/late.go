// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxEarly is how many late requests about groups may be without a slot while their connections are open. With a
	// limit of 8 it makes the 16 that a stock db_proxy answers at once.
	maxEarly = 8
	// earlyFactor times the limit is how many other late requests may be without a slot. A stock db_proxy answers about
	// 1,200 requests per second; if one of its 48 threads hangs, 250 of them are given up after 10 s.
	earlyFactor = 4
	// maxReads is how often a read is sent at most. One of 48 threads that hangs gets one read in 48.
	maxReads = 3
	// overtakenPart of the request timeout is how long the client waits for the answer to an overtaken request that
	// stores something. Its thread hangs, or takes very long.
	overtakenPart = 2
	// maxProbes is how many requests about groups may be unanswered that no other one has overtaken.
	maxProbes = 4
)

// lateCalls are the requests that are not answered in the usual time. A thread of db_proxy that hangs never answers
// what is dealt to it, and a db_proxy that hangs answers nothing. They are told apart by requests that overtake:
// written later, and answered.
//
// An overtaken request releases its slot at once. So does the only request about a group in flight, because otherwise
// no other one could overtake it. A read that is overtaken, and that takes no longer whatever is stored, is sent
// again. The answer to a message that is overtaken is not awaited as long as others.
//
// The zero value is ready to use. Limiter.mu guards it.
type lateCalls struct {
	// usual is how long requests take that store something.
	usual byClass[pace]
	// newest is of all requests, newestStored of those that store something.
	newest, newestStored newest
	// calls are the late ones, and early counts those that have given their slot back.
	calls []*call
	early byClass[int]
}

// byClass holds a value for all requests, or those about single chats, and one for those about groups.
type byClass[T any] struct{ all, group T }

func (b *byClass[T]) of(group bool) *T {
	if group {
		return &b.group
	}
	return &b.all
}

// newest is when the newest request with an answer was written, or before.
type newest struct{ byClass[time.Time] }

func (n *newest) note(cl *call) {
	if cl.began.After(n.all) {
		n.all = cl.began
	}
	if cl.showsGroups() && cl.began.After(n.group) {
		n.group = cl.began
	}
}

// showsGroups reports whether the answer to a call shows that db_proxy handles messages and history of groups. Group
// info shows nothing: it is in other tables, and answered fast while any number of these hang.
func (cl *call) showsGroups() bool {
	return cl.group && cl.request != wire.CommandGroupInfoReq && cl.request != wire.CommandUserGroupsReq
}

// overtakes returns when the newest request with an answer was written that overtakes cl if it was written later. A
// database that takes no writes may answer reads, so they overtake nothing that stores.
func (l *lateCalls) overtakes(cl *call) time.Time {
	if cl.stores {
		return *l.newestStored.of(cl.group)
	}
	return *l.newest.of(cl.group)
}

// lateAfter returns after what time without an answer a request is late.
func (l *Limiter) lateAfter(group bool) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.late.usual.of(group).late()
}

// answered records the answer to a request.
func (l *Limiter) answered(cl *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late.newest.note(cl)
	if cl.stores {
		l.late.usual.of(cl.group).observe(time.Since(cl.began))
		l.late.newestStored.note(cl)
	}
	if cl.showsGroups() {
		l.recovered(cl.began)
	}
	l.giveBack()
	l.grant()
}

// becomesLate adds a call that was written by a time. The channel is closed when it is overtaken.
func (l *Limiter) becomesLate(cl *call, written time.Time) (overtaken <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cl.written, cl.overtaken = written, make(chan struct{})
	l.late.calls = append(l.late.calls, cl)
	l.giveBack()
	l.grant()
	return cl.overtaken
}

// ends removes a call at its end.
func (l *Limiter) ends(cl *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.late.calls, cl); i >= 0 {
		l.late.calls = slices.Delete(l.late.calls, i, i+1)
		if cl.early {
			*l.late.early.of(cl.group)--
			l.giveBack()
			l.grant()
		}
	}
}

func (l *Limiter) isOvertaken(cl *call) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cl.wasOvertaken
}

// lastWritten returns the last moment at which the request may have been written. It needs the Limiter's mu.
func (cl *call) lastWritten() time.Time {
	if cl.written.IsZero() { // it has never become late
		return cl.began
	}
	return cl.written
}

// giveBack returns the slots that late calls do not need any more. It needs mu, and grant must be called after it.
func (l *Limiter) giveBack() {
	for _, cl := range l.late.calls {
		if !cl.wasOvertaken && l.late.overtakes(cl).After(cl.written) {
			cl.wasOvertaken = true
			close(cl.overtaken)
		}
		if !cl.early && (cl.wasOvertaken && l.mayBeEarly(cl.group) || cl.group && l.mayProbe()) {
			cl.early = true
			*l.late.early.of(cl.group)++
			cl.slot.put()
		}
	}
}

// mayBeEarly limits the requests without a slot that may run at db_proxy. It needs mu.
func (l *Limiter) mayBeEarly(group bool) bool {
	if group {
		return l.late.early.group < maxEarly
	}
	return l.late.early.all < earlyFactor*l.total
}

// mayProbe reports whether one more request about a group may be sent to a db_proxy that has not answered the others.
// One that hangs gets no more of them than its quarantine permits. Those that were overtaken say nothing about it. It
// needs mu.
func (l *Limiter) mayProbe() bool {
	probes := l.usedGroup
	for _, cl := range l.late.calls {
		if cl.group && cl.early && !cl.wasOvertaken {
			probes++
		}
	}
	return probes < maxProbes && l.mayBeEarly(true) && !l.quarantine.unanswered
}
