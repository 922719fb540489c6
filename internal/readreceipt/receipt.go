// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"cmp"
	"container/list"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// receiptID tells the receipts of a conversation apart. Several resources may have the same message.
type receiptID struct {
	// first is the id of the message, or of its first segment.
	first uint32
	uid   types.UID
}

// receipt is what is known of one recipient's reading.
type receipt struct {
	conversation
	receiptID
	resource types.NamespacedName
	// last is the id of the last segment.
	last   uint32
	sender uint32
	// since is before the message was stored, or when it was first kept. Earlier notifies are not about it.
	since time.Time
	// routed and read are for the metric. read can be earlier than routed: a fast client reads the message before the
	// router's confirmation arrives.
	routed, read time.Time
	reported     bool
	// routing is when the step began in which a router took the last segment; zero: none has. Earlier notifies prove
	// nothing: an id can be that of an earlier message. early are the notifies since the message was stored, until that is
	// known.
	routing time.Time
	early   map[uint32]time.Time
	// readers are who has read the last segment since then, in ascending order. readAt is when the first one has.
	readers []uint32
	readAt  time.Time
	// heardSince is since when no notify about it was missed, as long as no connection to a router has ended; zero: it
	// may have been read before.
	heardSince time.Time
	// unread is the user's counter of the conversation as it was read at unreadAt.
	unread   uint32
	unreadAt time.Time
	// unprovable: no later counter can prove that it was unread.
	unprovable bool
	// age is its element of byAge; nil: it is kept.
	age *list.Element
}

// addReader reports whether a user has read the message who had not.
func (r *receipt) addReader(user uint32, at time.Time) bool {
	if r.routing.IsZero() {
		if r.early == nil {
			r.early = map[uint32]time.Time{}
		}
		if _, known := r.early[user]; known || len(r.early) < maxReaders {
			r.early[user] = at
		}
		return false
	}
	i, known := slices.BinarySearch(r.readers, user)
	if known || at.Before(r.routing) || len(r.readers) >= maxReaders {
		return false
	}
	r.readers = slices.Insert(r.readers, i, user)
	if r.readAt.IsZero() || at.Before(r.readAt) {
		r.readAt = at
	}
	return true
}

// startReading counts who reads the message since a router has it. A member who has read it before may not do so again.
func (r *receipt) startReading(routing time.Time) {
	if !r.routing.IsZero() {
		return
	}
	r.routing = routing
	for user, at := range r.early {
		if !r.addReader(user, at) {
			r.heardSince = time.Time{}
		}
	}
	r.early = nil
}

// forgetReaders forgets who has read the message: it has another last segment.
func (r *receipt) forgetReaders() {
	r.routing, r.early, r.readers, r.readAt = time.Time{}, nil, nil, time.Time{}
}

// resource are the receipts of a TeamTalkMessage.
type resource struct {
	uid    types.UID
	server types.NamespacedName
	// receipts are in the order of their recipients. There is one for each.
	receipts []*receipt
	// kept: they do not expire.
	kept bool
	// written is when the status was last written with reads.
	written time.Time
	// next is when it may be looked at again.
	next time.Time
	// lostSince is since when reads may be missed; zero: they are not.
	lostSince time.Time
}

// find returns the place of a recipient's receipt, and whether there is one.
func (all *resource) find(to v1alpha1.Recipient) (i int, ok bool) {
	return slices.BinarySearchFunc(all.receipts, to, func(r *receipt, to v1alpha1.Recipient) int {
		own := r.recipient()
		return cmp.Or(cmp.Compare(own.Type, to.Type), cmp.Compare(own.ID, to.ID))
	})
}

// isShown reports whether the status shows a new reader of a receipt: without a readPolicy, the message's first one,
// and when all have read it.
func (all *resource) isShown(r *receipt) bool {
	if all.kept {
		return true
	}
	if len(r.readers) > 1 {
		return false
	}
	read := 0
	for _, other := range all.receipts {
		if len(other.readers) > 0 {
			read++
		}
	}
	return read == 1 || read == len(all.receipts)
}

// add tracks a receipt. Those of an earlier revision, or of another resource of that name, are dropped. It needs mu.
func (t *Tracker) add(key types.NamespacedName, r *receipt) {
	if all := t.resources[key]; all != nil && all.uid != r.uid {
		t.removeAll(key)
	} else if all != nil {
		if i, ok := all.find(r.recipient()); ok {
			t.remove(all.receipts[i])
		}
	}
	all := t.resources[key]
	if all == nil {
		all = &resource{uid: r.uid, server: r.server}
		t.resources[key] = all
	}
	r.resource = key
	i, _ := all.find(r.recipient())
	all.receipts = slices.Insert(all.receipts, i, r)
	t.tracked++
	if !all.kept {
		r.age = t.byAge.PushBack(r)
	}
	if t.pending[r.conversation] == nil {
		t.pending[r.conversation] = map[receiptID]*receipt{}
	}
	t.pending[r.conversation][r.receiptID] = r
}

// remove needs mu.
func (t *Tracker) remove(r *receipt) {
	if r.age != nil {
		t.byAge.Remove(r.age)
	}
	delete(t.pending[r.conversation], r.receiptID)
	if len(t.pending[r.conversation]) == 0 {
		delete(t.pending, r.conversation)
	}
	all := t.resources[r.resource]
	i, _ := all.find(r.recipient())
	all.receipts = slices.Delete(all.receipts, i, i+1)
	t.tracked--
	if len(all.receipts) == 0 && !all.kept {
		delete(t.resources, r.resource)
	}
}

// removeAll drops the receipts of a resource. It needs mu.
func (t *Tracker) removeAll(key types.NamespacedName) {
	all := t.resources[key]
	if all == nil {
		return
	}
	for _, r := range slices.Backward(slices.Clone(all.receipts)) {
		t.remove(r)
	}
	delete(t.resources, key)
}

// isTracked reports whether a message is tracked for any resource. It needs mu.
func (t *Tracker) isTracked(c conversation, first uint32) bool {
	for id := range t.pending[c] {
		if id.first == first {
			return true
		}
	}
	return false
}

// wake needs mu.
func (t *Tracker) wake(r *receipt) {
	if t.Wake != nil {
		t.Wake(r.resource)
	}
}

// Message is a TeamTalkMessage as the Tracker knows it.
type Message struct {
	Key types.NamespacedName
	UID types.UID
}

// Sent is a message to a recipient that was routed.
type Sent struct {
	To v1alpha1.Recipient
	// First and Last are the ids of its first and its last segment.
	First, Last uint32
}

// Receipt is what is known of one recipient's reading.
type Receipt struct {
	Sent
	// ReadAt is when it was first read; zero: that is not known.
	ReadAt time.Time
	// ReadBy is how many have read it.
	ReadBy int
	// HeardSince is since when no notify about it was missed, as long as all routers are connected; zero: it may have been
	// read before.
	HeardSince time.Time
	// Unread is the user's counter of the conversation as NoteUnread was told at UnreadAt.
	Unread   uint32
	UnreadAt time.Time
	// Unprovable is what NoteUnprovable has recorded.
	Unprovable bool
}

// Receipts returns what is known of a message, and when its status was last written with it.
func (t *Tracker) Receipts(m Message) (receipts []Receipt, written time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.resources[m.Key]
	if all == nil || all.uid != m.UID {
		return nil, time.Time{}
	}
	for _, r := range all.receipts {
		receipts = append(receipts, Receipt{
			Sent: Sent{To: r.recipient(), First: r.first, Last: r.last}, ReadAt: r.readAt, ReadBy: len(r.readers),
			HeardSince: r.heardSince, Unread: r.unread, UnreadAt: r.unreadAt, Unprovable: r.unprovable,
		})
	}
	return receipts, all.written
}

// HasRead reports whether a recipient of a message has read it.
func (t *Tracker) HasRead(m Message) bool {
	receipts, _ := t.Receipts(m)
	return slices.ContainsFunc(receipts, func(r Receipt) bool { return r.ReadBy > 0 })
}

// NoteLost records whether reads of a message may be missed now, and returns since when.
func (t *Tracker) NoteLost(m Message, lost bool, now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.resources[m.Key]
	switch {
	case all == nil || all.uid != m.UID:
		return now
	case !lost:
		all.lostSince = time.Time{}
	case all.lostSince.IsZero():
		all.lostSince = now
	}
	return all.lostSince
}

// receiptOf returns the receipt of a recipient, or nil. It needs mu.
func (t *Tracker) receiptOf(m Message, to v1alpha1.Recipient) *receipt {
	all := t.resources[m.Key]
	if all == nil || all.uid != m.UID {
		return nil
	}
	if i, ok := all.find(to); ok {
		return all.receipts[i]
	}
	return nil
}

// Written records that the status was written at a time.
func (t *Tracker) Written(m Message, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if all := t.resources[m.Key]; all != nil && all.uid == m.UID {
		all.written = at
	}
}

// Wait returns how long the resource is not to be looked at.
func (t *Tracker) Wait(key types.NamespacedName) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if all := t.resources[key]; all != nil {
		return max(0, time.Until(all.next))
	}
	return 0
}

// SetNext records when a resource may be looked at again.
func (t *Tracker) SetNext(key types.NamespacedName, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if all := t.resources[key]; all != nil {
		all.next = next
	}
}

// Release drops what is known of a message.
func (t *Tracker) Release(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeAll(key)
}
