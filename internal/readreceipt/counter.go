// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// LostGrace is how long routers or db_proxy may be unreachable before the status says that reads may be missed.
	LostGrace = 30 * time.Second
	// UnansweredRetry is the time after which a counter that could not be read is requested again.
	UnansweredRetry = time.Minute
)

// Chat is a single chat. The user's unread counter can prove that a message of it is unread, and never that it was
// read.
type Chat struct {
	User, Sender uint32
}

// Counter is an unread counter.
type Counter struct {
	// Asked is a time just before the request.
	Asked time.Time
	// Count is how many of the last messages to the user are unread. Latest is the id of the latest message.
	Count, Latest uint32
}

// Listening tells how completely read notifies of a server arrive.
type Listening struct {
	// Since is the time since when all routers are connected. It is zero if one is not.
	Since time.Time
	// ReplicaLag is the longest time by which a replica may be stale.
	ReplicaLag time.Duration
	// Silent: db_proxy does not answer requests for counters.
	Silent bool
}

// askedCounter is the last counter that was requested for a receipt.
type askedCounter struct {
	// count is its value at the time at. It is zero if no answer is known.
	count uint32
	at    time.Time
	// failedAt is the time of the last request if that failed, and zero otherwise.
	failedAt time.Time
}

func (c *askedCounter) isDue(l Listening, now time.Time) bool {
	return (c.at.Before(l.Since) || now.Sub(c.at) >= l.ReplicaLag) &&
		(c.failedAt.IsZero() || now.Sub(c.failedAt) >= UnansweredRetry)
}

// isLost reports whether the message may have been read since it was last known not to be.
func (r *receipt) isLost(l Listening) bool {
	isHeard := !l.Since.IsZero() && !r.heardSince.IsZero() && !l.Since.After(r.heardSince)
	return !isHeard && !r.recorded && r.readBy() == 0
}

// isProvable reports whether a counter may prove that the message is unread.
func (r *receipt) isProvable() bool { return !r.group && !r.unprovable }

// isDue reports whether the counter is to be asked for. One from before all routers were connected counts as not asked
// for: the message may have been read since.
func (r *receipt) isDue(l Listening, now time.Time) bool {
	if r.age != nil || l.Since.IsZero() || !r.isLost(l) || !r.isProvable() {
		return false
	}
	return r.counter == nil || r.counter.isDue(l, now)
}

// DueChats returns the chats of at most so many users whose counters are to be asked for, by user. Only messages that
// are kept have their counters asked for.
func (t *Tracker) DueChats(server types.NamespacedName, l Listening, now time.Time, users int) map[uint32][]Chat {
	t.mu.Lock()
	defer t.mu.Unlock()
	due := map[uint32][]Chat{}
	for c, receipts := range t.pending {
		if c.server != server || c.group || len(due) >= users && due[c.reader] == nil {
			continue
		}
		for _, r := range receipts {
			if r.isDue(l, now) {
				due[c.reader] = append(due[c.reader], Chat{User: c.reader, Sender: c.session})
				break
			}
		}
	}
	return due
}

// proof is what an unread counter proves.
type proof int

const (
	// proofNone: the message may have been read.
	proofNone proof = iota
	// proofPending: the latest message is not known yet.
	proofPending
	// proofUnread: the message was unread when the earlier counter was asked for.
	proofUnread
)

// prove is for a receipt that is due. It compares the earlier counter of a chat with the id of its latest message.
// The counter counts the last messages to the user. There are at least as many ids after the message as messages
// after it. The latest id comes from a replica. So it is asked for later than the counter, by the replica lag.
func (r *receipt) prove(c Counter, l Listening) proof {
	switch {
	case c.Count == 0:
		return proofNone
	case r.counter == nil || r.counter.at.Before(l.Since):
		return proofPending
	case c.Latest >= r.last && r.counter.count > c.Latest-r.last:
		return proofUnread
	}
	return proofNone
}

// NoteCounter records what a counter proves of the messages of its chat. What was tracked after it was asked for stays
// due.
func (t *Tracker) NoteCounter(server types.NamespacedName, of Chat, c Counter, l Listening) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.pending[conversation{server: server, reader: of.User, session: of.Sender}] {
		if !r.isDue(l, c.Asked) || r.since.After(c.Asked) {
			continue
		}
		result := r.prove(c, l)
		if result == proofUnread && !r.counter.at.After(t.droppedAt[server]) {
			result = proofPending // a notify was dropped since
		}
		switch result {
		case proofNone:
			r.counter, r.unprovable = nil, true
		case proofPending:
			r.counter = &askedCounter{count: c.Count, at: c.Asked}
		case proofUnread:
			r.counter, r.heardSince = nil, r.counter.at
		}
	}
}

// NoteUnanswered records that the counters of chats could not be read.
func (t *Tracker) NoteUnanswered(server types.NamespacedName, chats []Chat, asked time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, of := range chats {
		for _, r := range t.pending[conversation{server: server, reader: of.User, session: of.Sender}] {
			if r.counter == nil {
				r.counter = &askedCounter{}
			}
			r.counter.failedAt = asked
		}
	}
}

// missedCounts are the numbers of recipients that may have read a message since they were last known not to have.
type missedCounts struct {
	// unprovable recipients stay unknown. waiting ones wait for their counters.
	unprovable, waiting int
	// unanswered are the waiting ones for which a router is not connected, or db_proxy does not answer.
	unanswered int
}

// missedCounts needs mu.
func (all *resource) missedCounts(l Listening) (d missedCounts) {
	for _, r := range all.receipts {
		switch {
		case !r.isLost(l):
		case l.Since.IsZero():
			d.waiting, d.unanswered = d.waiting+1, d.unanswered+1
		case !r.isProvable():
			d.unprovable++
		default:
			d.waiting++
			if l.Silent || r.counter != nil && !r.counter.failedAt.IsZero() {
				d.unanswered++
			}
		}
	}
	return d
}

// missed returns how many recipients may have read the message, or false while that is still being found out.
func (all *resource) missed(d missedCounts, now time.Time) (count int, ok bool) {
	since := all.known().lostSince
	isOver := !since.IsZero() && now.Sub(since) >= LostGrace
	return d.unprovable + d.waiting, d.waiting == 0 || isOver
}

// Missed returns how many recipients may have read a message, or false while that is still being found out. Then it
// calls MayBeMissed.
func (t *Tracker) Missed(m Message, l Listening, now time.Time) (count int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.resources[m.Key]
	if all == nil || all.uid != m.UID {
		return 0, true
	}
	if count, ok = all.missed(all.missedCounts(l), now); !ok {
		t.mayBeMissed(all.server)
	}
	return count, ok
}

// UnknownMissed is the number for NoteShown if the status is from another process.
const UnknownMissed = -1

// NoteShown records of how many recipients the status shows that they may have read a message.
func (t *Tracker) NoteShown(m Message, missed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if all := t.resources[m.Key]; all != nil && all.uid == m.UID {
		all.shownMissed = missed
	}
}

// Review counts the kept messages of a server by what is known of their reads.
type Review struct {
	// No read of an Unread message was missed. Reads of a MayBeRead message may have been missed.
	Unread, MayBeRead int
	// Waiting messages wait for counters to be asked for, and Unanswered ones for a router or for db_proxy.
	Waiting, Unanswered int
	// Grace is the shortest time until the status of a message must say that reads may be missed, or 0.
	Grace time.Duration
}

// Review wakes the resources of a server that are kept if their status shows something else of missed reads than is
// known.
func (t *Tracker) Review(server types.NamespacedName, l Listening, now time.Time) (review Review) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, all := range t.resources {
		if !all.kept || all.server != server {
			continue
		}
		d, since := all.missedCounts(l), all.known().lostSince
		switch {
		case d.unanswered > 0 && since.IsZero():
			since = now
			all.note().lostSince = since
		case d.unanswered == 0 && !since.IsZero():
			since = time.Time{}
			all.note().lostSince = since
		}
		missed, ok := all.missed(d, now)
		switch {
		case !ok && !since.IsZero():
			grace := LostGrace - now.Sub(since)
			if review.Grace == 0 || grace < review.Grace {
				review.Grace = grace
			}
		case ok && missed != all.shownMissed && t.Wake != nil:
			t.Wake(key)
		}
		if d.unanswered > 0 {
			review.Unanswered++
		}
		switch {
		case d.waiting > d.unanswered:
			review.Waiting++
		case d.waiting == 0 && d.unprovable > 0:
			review.MayBeRead++
		case d.waiting == 0:
			review.Unread++
		}
	}
	return review
}
