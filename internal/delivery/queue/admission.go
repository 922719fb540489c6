// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
)

const (
	// maxUnderWay limits the recipients in progress in the process. Each takes about 1.2 KB, and has a goroutine only
	// while it works. For one server of a namespace, that is about 3,000 recipients.
	maxUnderWay = 63_000
	// maxLongWaits limits the recipients that wait for a long time, such as for a router. They block nothing else until
	// one server has a third of them.
	maxLongWaits = 60_000
)

// FlowOf returns the flow of the recipients of a message: its namespace, through one server.
func FlowOf(message, server types.NamespacedName) fairqueue.Flow {
	return fairqueue.Flow{Tenant: message.Namespace, Name: server.String()}
}

// slots are the slots of the process. Waiting messages are admitted by namespace in turn, then by server in turn, and
// in Order within a server.
type slots struct {
	// underWay counts recipients in progress, including those of admitted messages. longWaits counts those that wait for a
	// long time.
	underWay, longWaits *fairqueue.Shares
	waiting             *fairqueue.Queue[*pending]
	// freed: some were returned since messages were last admitted.
	freed bool
}

func newSlots(underWay, longWaits int) slots {
	return slots{
		underWay: fairqueue.NewShares(underWay, 4), longWaits: fairqueue.NewShares(longWaits, 1),
		waiting: fairqueue.New(func(a, b *pending) bool { return a.Order.Before(b.Order) }),
	}
}

// Admit reports whether a message with n recipients may be submitted. If so, it reserves slots until Submit, Keep or
// Done. If not, it wakes the message when Admit is to be called again. A deleted message is not admitted. A message
// that is Done gets its places back: it must not overtake older ones that have theirs.
func (q *Queue) Admit(uid types.UID, server types.NamespacedName, n int) bool {
	q.mu.Lock()
	defer q.unlock()
	p := q.pending[uid]
	if p == nil {
		return false
	}
	q.reserve(p)
	if p.waits = p.behind > 0; p.waits {
		q.releaseSlots(p)
		return false
	}
	flow := FlowOf(p.Key, server)
	if p.item == nil && p.flow == flow && p.slots >= n {
		q.takeSlots(flow, n-p.slots)
		p.promised, p.slots = false, n
		return true
	}
	q.releaseSlots(p)
	p.flow, p.slots = flow, n
	p.item = q.slots.waiting.Push(flow, p)
	q.admitNext()
	if p.item != nil {
		return false
	}
	p.promised = false
	q.woken = slices.DeleteFunc(q.woken, func(key types.NamespacedName) bool { return key == p.Key })
	return true
}

// Keep ends a reconciliation after which the message keeps its places. If Admit was not called, the message waits for
// something else, and its reserved slots are released.
func (q *Queue) Keep(uid types.UID) {
	q.mu.Lock()
	defer q.unlock()
	if p := q.pending[uid]; p != nil && p.promised {
		q.releaseSlots(p)
	}
}

// admitNext reserves slots for waiting messages, and wakes them.
func (q *Queue) admitNext() {
	for {
		p, ok := q.slots.waiting.Next(func(p *pending) bool {
			return q.slots.underWay.Fits(p.flow, p.slots) && q.slots.longWaits.Fits(p.flow, 0)
		})
		if !ok {
			return
		}
		q.takeSlots(p.flow, p.slots)
		p.item, p.promised = nil, true
		q.woken = append(q.woken, p.Key)
	}
}

func (q *Queue) takeSlots(flow fairqueue.Flow, n int) {
	q.slots.underWay.Take(flow, n)
	q.slots.freed = q.slots.freed || n < 0
}

// releaseSlots releases the slots that a message has or waits for.
func (q *Queue) releaseSlots(p *pending) {
	if !q.slots.waiting.Remove(p.item) {
		q.takeSlots(p.flow, -p.slots)
	}
	p.item, p.slots, p.promised = nil, 0, false
}
