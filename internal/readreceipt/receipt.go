// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"cmp"
	"container/list"
	"slices"
	"time"
	"unique"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// receiptID tells the receipts of a conversation apart. Several resources may have the same message.
type receiptID struct {
	// first is the id of the message, or of its first segment.
	first uint32
	uid   types.UID
}

// receipt is what is known of one recipient's reading. There may be many: its small fields are side by side.
type receipt struct {
	// of is the resource.
	of *resource
	// reader, session and group are those of its conversation.
	reader, session uint32
	// first and last are the ids of the first and the last segment.
	first, last uint32
	sender      uint32
	group       bool
	// reported: the metric has it.
	reported bool
	// recorded: the status shows that it was read.
	recorded bool
	// unprovable: no later counter can prove that it was unread.
	unprovable bool
	// since is before the message was stored, or when it was first kept. Earlier notifies are not about it.
	since time.Time
	// routed and read are for the metric. read can be earlier than routed: a fast client reads the message before the
	// router's confirmation arrives.
	routed, read time.Time
	// routing is when the step began in which a router took the last segment; zero: none has. Earlier notifies prove
	// nothing: an id can be that of an earlier message.
	routing time.Time
	// heardSince is since when no notify about it was missed, as long as no connection to a router has ended. If it
	// is zero, the message may have been read before.
	heardSince time.Time
	// seen is who has read it; nil: nobody.
	seen *readers
	// counter is the user's counter of the conversation; nil: it was not asked for, or has proved that it was unread.
	counter *askedCounter
	// age is its element of byAge; nil: it is kept.
	age *list.Element
}

// readers are who has read a message.
type readers struct {
	// users have read the last segment since a router took it, in ascending order. first is when the first one has.
	users []uint32
	first time.Time
	// early are the notifies since the message was stored, until it is known that a router took it.
	early map[uint32]time.Time
}

// readBy returns how many have read the message.
func (r *receipt) readBy() int {
	if r.seen == nil {
		return 0
	}
	return len(r.seen.users)
}

// addReader reports whether a user has read the message who had not.
func (r *receipt) addReader(user uint32, at time.Time) bool {
	if r.seen == nil {
		r.seen = &readers{}
	}
	seen := r.seen
	if r.routing.IsZero() {
		if seen.early == nil {
			seen.early = map[uint32]time.Time{}
		}
		if _, known := seen.early[user]; known || len(seen.early) < maxReaders {
			seen.early[user] = at
		}
		return false
	}
	i, known := slices.BinarySearch(seen.users, user)
	if known || at.Before(r.routing) || len(seen.users) >= maxReaders {
		return false
	}
	seen.users = slices.Insert(seen.users, i, user)
	if seen.first.IsZero() || at.Before(seen.first) {
		seen.first = at
	}
	return true
}

// startReading counts who reads the message since a router has it. A member who has read it before may not do so again.
func (r *receipt) startReading(routing time.Time) {
	if !r.routing.IsZero() {
		return
	}
	r.routing = routing
	if r.seen == nil {
		return
	}
	for user, at := range r.seen.early {
		if !r.addReader(user, at) {
			r.heardSince = time.Time{}
		}
	}
	r.seen.early = nil
}

// forgetReaders forgets who has read the message: it has another last segment.
func (r *receipt) forgetReaders() {
	r.routing, r.seen = time.Time{}, nil
}

func (r *receipt) conversation() conversation {
	return conversation{server: r.of.server, group: r.group, reader: r.reader, session: r.session}
}

func (r *receipt) recipient() v1alpha1.Recipient { return r.conversation().recipient() }

func (r *receipt) sent() Sent { return Sent{To: r.recipient(), First: r.first, Last: r.last} }

func (r *receipt) id() receiptID { return receiptID{first: r.first, uid: r.of.uid} }

// resource are the receipts of a TeamTalkMessage.
type resource struct {
	key    types.NamespacedName
	uid    types.UID
	server types.NamespacedName
	// receipts are in the order of their recipients. There is one for each.
	receipts []*receipt
	// kept: they do not expire.
	kept bool
	// times are what is known of them; nil: all are zero.
	times *resourceTimes
	// shownMissed is of how many recipients the status shows that they may have read it.
	shownMissed int
}

// resourceTimes are those of a resource that has been looked at.
type resourceTimes struct {
	// written is when the status was last written with reads.
	written time.Time
	// next is when it may be looked at again.
	next time.Time
	// lostSince is since when reads may be missed and no counter is answered; zero: not so.
	lostSince time.Time
}

// known returns what is known of the times.
func (all *resource) known() resourceTimes {
	if all.times == nil {
		return resourceTimes{}
	}
	return *all.times
}

// note returns the times to be changed.
func (all *resource) note() *resourceTimes {
	if all.times == nil {
		all.times = &resourceTimes{}
	}
	return all.times
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
	if r.readBy() > 1 {
		return false
	}
	read := 0
	for _, other := range all.receipts {
		if other.readBy() > 0 {
			read++
		}
	}
	return read == 1 || read == len(all.receipts)
}

// newResource returns one without receipts. It needs mu.
func (t *Tracker) newResource(m Message, server types.NamespacedName) *resource {
	// Many have the same namespace and the same server: each is in memory once.
	m.Key.Namespace = unique.Make(m.Key.Namespace).Value()
	server.Namespace, server.Name = unique.Make(server.Namespace).Value(), unique.Make(server.Name).Value()
	all := &resource{key: m.Key, uid: m.UID, server: server}
	t.resources[m.Key] = all
	return all
}

// add tracks a receipt in a conversation. Those of an earlier revision, or of another resource of that name, are
// dropped. It needs mu.
func (t *Tracker) add(m Message, c conversation, r *receipt) {
	r.group, r.reader, r.session = c.group, c.reader, c.session
	all := t.resources[m.Key]
	if all != nil && (all.uid != m.UID || all.server != c.server) {
		t.removeAll(m.Key)
		all = nil
	} else if all != nil {
		if i, ok := all.find(c.recipient()); ok {
			t.remove(all.receipts[i])
			all = t.resources[m.Key]
		}
	}
	if all == nil {
		all = t.newResource(m, c.server)
	}
	r.of = all
	i, _ := all.find(c.recipient())
	all.receipts = slices.Insert(all.receipts, i, r)
	t.tracked++
	if !all.kept {
		r.age = t.byAge.PushBack(r)
	}
	c = r.conversation()
	place, _ := findReceipt(t.pending[c], r.id())
	t.pending[c] = slices.Insert(t.pending[c], place, r)
}

// remove needs mu.
func (t *Tracker) remove(r *receipt) {
	c := r.conversation()
	if i, ok := findReceipt(t.pending[c], r.id()); ok {
		t.setPending(c, slices.Delete(t.pending[c], i, i+1))
	}
	t.detach(r)
}

// setPending sets the receipts of a conversation. It needs mu.
func (t *Tracker) setPending(c conversation, receipts []*receipt) {
	if len(receipts) == 0 {
		delete(t.pending, c)
		return
	}
	t.pending[c] = receipts
}

// detach removes a receipt from all but its conversation. It needs mu.
func (t *Tracker) detach(r *receipt) {
	if r.age != nil {
		t.byAge.Remove(r.age)
	}
	all := r.of
	if i, ok := all.find(r.recipient()); ok {
		all.receipts = slices.Delete(all.receipts, i, i+1)
	}
	t.tracked--
	if len(all.receipts) == 0 && !all.kept {
		delete(t.resources, all.key)
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

// receiptOf returns the receipt of a conversation with an id, or nil. It needs mu.
func (t *Tracker) receiptOf(c conversation, id receiptID) *receipt {
	if i, ok := findReceipt(t.pending[c], id); ok {
		return t.pending[c][i]
	}
	return nil
}

// findReceipt returns the place of a receipt in a conversation, and whether it is there.
func findReceipt(receipts []*receipt, id receiptID) (i int, ok bool) {
	return slices.BinarySearchFunc(receipts, id, func(r *receipt, id receiptID) int {
		own := r.id()
		return cmp.Or(cmp.Compare(own.first, id.first), cmp.Compare(own.uid, id.uid))
	})
}

// isTracked reports whether a message is tracked for any resource. It needs mu.
func (t *Tracker) isTracked(c conversation, first uint32) bool {
	i, _ := findReceipt(t.pending[c], receiptID{first: first}) // before those of any resource
	return i < len(t.pending[c]) && t.pending[c][i].first == first
}

// wake needs mu.
func (t *Tracker) wake(r *receipt) {
	if t.Wake != nil {
		t.Wake(r.of.key)
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
		receipt := Receipt{Sent: r.sent(), ReadBy: r.readBy()}
		if r.seen != nil {
			receipt.ReadAt = r.seen.first
		}
		receipts = append(receipts, receipt)
	}
	return receipts, all.known().written
}

// HasRead reports whether a recipient of a message has read it.
func (t *Tracker) HasRead(m Message) bool {
	receipts, _ := t.Receipts(m)
	return slices.ContainsFunc(receipts, func(r Receipt) bool { return r.ReadBy > 0 })
}

// IsAsListed reports whether nothing is tracked for a message but what a list shows that was sent. Otherwise the
// message was sent again since, or deleted and created again.
func (t *Tracker) IsAsListed(m Message, sent []Sent) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.resources[m.Key]
	switch {
	case all == nil:
		return true
	case all.uid != m.UID:
		return false
	}
	isSent := make(map[Sent]bool, len(sent))
	for _, s := range sent {
		isSent[s] = true
	}
	return !slices.ContainsFunc(all.receipts, func(r *receipt) bool { return !isSent[r.sent()] })
}

// Written records that the status was written at a time.
func (t *Tracker) Written(m Message, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if all := t.resources[m.Key]; all != nil && all.uid == m.UID {
		all.note().written = at
	}
}

// Wait returns how long the resource is not to be looked at.
func (t *Tracker) Wait(key types.NamespacedName) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if all := t.resources[key]; all != nil {
		return max(0, time.Until(all.known().next))
	}
	return 0
}

// SetNext records when a resource may be looked at again.
func (t *Tracker) SetNext(key types.NamespacedName, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if all := t.resources[key]; all != nil && next != all.known().next {
		all.note().next = next
	}
}

// Release drops what is known of a message.
func (t *Tracker) Release(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeAll(key)
}
