// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Recorded is what the status shows of a message to a recipient that was routed.
type Recorded struct {
	Sent
	// Read: it was read.
	Read bool
}

// Keep tracks what was sent until Unkeep or Release: it does not expire. What is not tracked may have been read before.
// Other receipts of the resource are dropped. It returns false if too many recipients are kept: then none of the
// resource is.
func (t *Tracker) Keep(m Message, server types.NamespacedName, sender uint32, sent []Recorded) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.resources[m.Key]
	if all != nil && (all.uid != m.UID || all.server != server) {
		t.removeAll(m.Key)
		all = nil
	}
	if others := t.keptBeside(all); others+len(sent) > t.maxKept {
		t.unkeep(m.Key)
		return false
	}
	if all == nil {
		all = t.newResource(m, server)
	}
	all.kept = true
	wanted := make(map[*receipt]bool, len(sent))
	now := time.Now()
	for _, s := range sent {
		c, id := conversationWith(server, sender, s.To), receiptID{uid: m.UID, first: s.First}
		r := t.receiptOf(c, id)
		if r == nil {
			r = &receipt{
				first: s.First, last: s.Last, sender: sender,
				since: now, routed: now, routing: now, reported: true,
			}
			t.add(m, c, r)
		}
		if r.age != nil {
			t.byAge.Remove(r.age)
			r.age = nil
		}
		r.recorded = s.Read
		wanted[r] = true
	}
	for _, r := range slices.Clone(all.receipts) {
		if !wanted[r] {
			t.remove(r)
		}
	}
	return true
}

// keptBeside returns how many recipients of other resources are kept. It needs mu.
func (t *Tracker) keptBeside(all *resource) int {
	kept := t.tracked - t.byAge.Len()
	if all != nil && all.kept {
		kept -= len(all.receipts)
	}
	return kept
}

// Unkeep has the receipts of a resource expire. Those of what was not sent as well are dropped.
func (t *Tracker) Unkeep(m Message, sent []Sent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unkeep(m.Key)
	all := t.resources[m.Key]
	if all == nil || all.uid != m.UID {
		return
	}
	isSent := make(map[Sent]bool, len(sent))
	for _, s := range sent {
		isSent[Sent{To: s.To, First: s.First}] = true
	}
	for _, r := range slices.Clone(all.receipts) {
		if !isSent[Sent{To: r.recipient(), First: r.first}] {
			t.remove(r)
		}
	}
}

// unkeep needs mu.
func (t *Tracker) unkeep(key types.NamespacedName) {
	all := t.resources[key]
	if all == nil || !all.kept {
		return
	}
	all.kept = false
	for _, r := range all.receipts {
		r.since = time.Now() // byAge is in this order
		r.age = t.byAge.PushBack(r)
	}
	if len(all.receipts) == 0 {
		delete(t.resources, key)
	}
}
