// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"container/heap"

	"k8s.io/apimachinery/pkg/types"
)

// serverSlots is how many recipients of one server may be under way before no more messages are admitted. Each
// costs memory, most of it a goroutine's. It is far above what any db_proxy has in flight.
const serverSlots = 10_000

// serverQuota are the slots of one server: one that is down must not keep another's messages waiting.
type serverQuota struct {
	server types.NamespacedName
	// used counts recipients under way, and those of messages that are admitted.
	used int
	// waiting are messages that were not admitted. Only the first is woken, so that no slot is promised twice.
	waiting line[*pending]
}

// Admit reports whether a message with n recipients may be submitted. It keeps slots for them then, until Submit
// or Done. If not, the message is woken when Admit is to be called again. A message that has been deleted is not
// admitted. One that is Done gets its places back: it must not pass older ones that have theirs.
func (q *Queue) Admit(uid types.UID, server types.NamespacedName, n int) bool {
	q.mu.Lock()
	defer q.unlock()
	p := q.pending[uid]
	if p == nil {
		return false
	}
	q.releaseSlots(p)
	q.reserve(p)
	if p.waits = p.behind > 0; p.waits {
		return false
	}
	s := q.quotaOf(server)
	p.quota, p.slots, p.called = s, n, false
	first := s.waiting.first()
	if q.fits(s, n) && (first == nil || p.order.Before(first.order)) {
		s.used += n
		return true
	}
	heap.Push(&s.waiting, p)
	return false
}

// quotaOf returns a server's quota, which is about to change.
func (q *Queue) quotaOf(server types.NamespacedName) *serverQuota {
	s := valueOf(q.quotas, server)
	s.server = server
	q.changed = append(q.changed, s)
	return s
}

// releaseSlots gives up the slots that a message has or waits for.
func (q *Queue) releaseSlots(p *pending) {
	switch s := p.quota; {
	case s == nil:
		return
	case p.index >= 0:
		heap.Remove(&s.waiting, p.index)
	default:
		s.used -= p.slots
	}
	q.changed = append(q.changed, p.quota)
	p.quota = nil
}

// fits reports whether there are n slots. While none is used there are, however few a server has.
func (q *Queue) fits(s *serverQuota, n int) bool { return s.used == 0 || s.used+n <= q.slots }

// wakeNext wakes the first message that waits, once, when there are slots for it.
func (q *Queue) wakeNext(s *serverQuota) {
	switch first := s.waiting.first(); {
	case first == nil && s.used == 0:
		delete(q.quotas, s.server)
	case first != nil && !first.called && q.fits(s, first.slots):
		first.called = true
		q.woken = append(q.woken, first.Key)
	}
}
