// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"slices"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxKnownRows limits the conversations whose newest row is known: about 10 MB.
	maxKnownRows = 1 << 17
	// messageTables is how many tables db_proxy spreads the messages of groups over, by their id.
	messageTables = 8
	// maxControls is how many conversations of each table are remembered for their rows.
	maxControls = 3
	// maxFresh is how many of the rows stored within a replica lag are remembered.
	maxFresh = 8
)

// knownRow is a row of a conversation. ids alone repeat after a loss of db_proxy's counters.
type knownRow struct{ id, createTime uint32 }

func knownRowOf(r *wire.MsgInfo) knownRow { return knownRow{r.GetMsgId(), r.GetCreateTime()} }

// controlRow is a row with the session that reads it: if it is shown, messages can be read. Its createTime is 0 where
// it is not known.
type controlRow struct {
	dbproxy.Session
	knownRow
}

// knownRows remembers which rows are stored: what the store has shown, never what was only answered. An answer that
// shows less is an outage. Ordinary deliveries only write to it.
type knownRows struct {
	mu sync.Mutex
	// newest are the newest rows that were shown, by create_time.
	newest map[queue.Conversation]knownRow
	// recorded are those of finished messages, see Engine.Recorded.
	recorded map[queue.Conversation]knownRow
	stores   map[string]*storeRows
	// names are the present names of stores that turned out to be another one, see queue.Join.
	names map[string]string
}

// storeRows are rows of one message store.
type storeRows struct {
	// controls are of groups by their table, and of single chats at the end; the last noted first.
	controls [messageTables + 1][]controlRow
	// fresh are rows that this process has stored, the oldest first.
	fresh []freshRow
}

// freshRow is a row that db_proxy had stored at a time.
type freshRow struct {
	controlRow
	storedAt time.Time
}

func newKnownRows() *knownRows {
	return &knownRows{
		newest: map[queue.Conversation]knownRow{}, recorded: map[queue.Conversation]knownRow{},
		stores: map[string]*storeRows{}, names: map[string]string{},
	}
}

// merge moves what is known of a store to its other name.
func (k *knownRows) merge(from, to string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names[from] = to
	of, known := k.stores[from]
	if !known {
		return
	}
	delete(k.stores, from)
	for _, rows := range []map[queue.Conversation]knownRow{k.newest, k.recorded} {
		for c, row := range rows {
			if c.Store == from {
				delete(rows, c)
				noteNewer(rows, k.resolve(c), row)
			}
		}
	}
	into := k.storeOf(k.resolve(queue.Conversation{Store: to}).Store)
	for table, rows := range of.controls {
		into.controls[table] = append(into.controls[table], rows[:min(len(rows), maxControls-len(into.controls[table]))]...)
	}
	into.fresh = append(into.fresh, of.fresh...)
	slices.SortFunc(into.fresh, func(a, b freshRow) int { return a.storedAt.Compare(b.storedAt) })
}

// resolve returns the conversation under its store's present name. It needs mu.
func (k *knownRows) resolve(c queue.Conversation) queue.Conversation {
	for to, renamed := k.names[c.Store]; renamed; to, renamed = k.names[c.Store] {
		c.Store = to
	}
	return c
}

// note remembers a row that was shown to a session, if none is known that is newer.
func (k *knownRows) note(c queue.Conversation, s dbproxy.Session, row knownRow) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c = k.resolve(c)
	noteNewer(k.newest, c, row)
	k.storeOf(c.Store).noteControl(c, controlRow{s, row})
}

// noteRecorded remembers a row that the status of a finished message shows.
func (k *knownRows) noteRecorded(c queue.Conversation, s dbproxy.Session, row knownRow) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c = k.resolve(c)
	noteNewer(k.recorded, c, row)
	if store := k.storeOf(c.Store); len(store.controls[tableOf(c)]) < maxControls {
		store.noteControl(c, controlRow{s, knownRow{id: row.id}})
	}
}

func noteNewer(rows map[queue.Conversation]knownRow, c queue.Conversation, row knownRow) {
	before, known := rows[c]
	if known && row.createTime < before.createTime {
		return
	}
	if !known && len(rows) >= maxKnownRows {
		for other := range rows { // any
			delete(rows, other)
			break
		}
	}
	rows[c] = row
}

// noteStored remembers a row that this process has stored by a time, for replicas that lag so much.
func (k *knownRows) noteStored(
	c queue.Conversation, s dbproxy.Session, row knownRow, storedAt time.Time, lag time.Duration,
) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.storeOf(k.resolve(c).Store)
	if n := len(of.fresh); n > 0 && storedAt.Sub(of.fresh[n-1].storedAt) < lag/maxFresh {
		return
	}
	of.fresh = append(of.fresh, freshRow{controlRow{s, row}, storedAt})
	for len(of.fresh) > 1 && !of.fresh[1].storedAt.After(storedAt.Add(-lag)) || len(of.fresh) > 2*maxFresh {
		of.fresh = slices.Delete(of.fresh, 0, 1)
	}
}

// stored returns rows that this process has stored after one time and before another, the last one first.
func (k *knownRows) stored(c queue.Conversation, after, before time.Time) (rows []controlRow) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, row := range slices.Backward(k.storeOf(k.resolve(c).Store).fresh) {
		if row.storedAt.After(after) && !row.storedAt.After(before) {
			rows = append(rows, row.controlRow)
		}
	}
	return rows
}

// shown returns the newest row of a conversation that was shown.
func (k *knownRows) shown(c queue.Conversation) (knownRow, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	row, known := k.newest[k.resolve(c)]
	return row, known
}

// shownOrRecorded returns the newest row of a conversation that was shown, or is recorded. The time of a recorded one
// is that of its record: it was created earlier.
func (k *knownRows) shownOrRecorded(c queue.Conversation) (knownRow, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c = k.resolve(c)
	row, known := k.newest[c]
	if !known {
		row, known = k.recorded[c]
	}
	return row, known
}

// controls returns rows of other conversations, those that say most about c. unlike says how little that is.
func (k *knownRows) controls(c queue.Conversation) (rows []controlRow, unlike int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for unlike = range mostUnlike {
		for table, of := range k.storeOf(k.resolve(c).Store).controls {
			if unlikeness(tableOf(c), table) == unlike {
				rows = append(rows, of...)
			}
		}
		if len(rows) > 0 {
			break
		}
	}
	return rows[:min(len(rows), maxControls)], unlike
}

const (
	// otherKind is the unlikeness of groups and single chats.
	otherKind = 2
	// mostUnlike is more than any unlikeness.
	mostUnlike = 3
)

// unlikeness orders tables by how little the rows of one say about those of the other. The reads of groups can fail
// alone, and so can those of single chats.
func unlikeness(a, b int) int {
	switch {
	case a == b:
		return 0
	case a != messageTables && b != messageTables: // both are of groups
		return 1
	}
	return otherKind
}

func (k *knownRows) storeOf(name string) *storeRows {
	of := k.stores[name]
	if of == nil {
		of = &storeRows{}
		k.stores[name] = of
	}
	return of
}

// noteControl puts a row first, in place of another one of its conversation.
func (s *storeRows) noteControl(c queue.Conversation, row controlRow) {
	of := s.controls[tableOf(c)]
	if len(of) > 0 && of[0].Session == row.Session {
		of[0] = row
		return
	}
	of = slices.DeleteFunc(of, func(other controlRow) bool { return other.Session == row.Session })
	of = slices.Insert(of, 0, row)
	s.controls[tableOf(c)] = of[:min(len(of), maxControls)]
}

// tableOf returns the table of a group. That of a single chat is not known.
func tableOf(c queue.Conversation) int {
	if c.Type == v1alpha1.RecipientGroup {
		return int(c.High % messageTables)
	}
	return messageTables
}
