// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxKnownRows limits the conversations whose newest row is remembered: about 10 MB.
	maxKnownRows = 1 << 17
	// messageTables is how many tables db_proxy spreads the messages of groups over, by their id.
	messageTables = 8
	// maxGone limits the remembered stores of removed servers.
	maxGone = 64
	// maxControls is how many conversations of each table are remembered for their rows.
	maxControls = 3
)

// knownRow is a row of a conversation. Ids repeat after a loss of db_proxy's counters.
type knownRow struct{ id, createTime uint32 }

func knownRowOf(r *wire.MsgInfo) knownRow { return knownRow{r.GetMsgId(), r.GetCreateTime()} }

// controlRow is a row with the session that reads it: if it is shown, messages can be read. Its createTime is 0 where
// it is not known.
type controlRow struct {
	dbproxy.Session
	knownRow
}

// knownRows remembers rows that the store has shown. An answer without them means an outage. It remembers some
// acknowledged rows, which tell whether answers are fresh. Ordinary deliveries only write to it. The rows of a store
// are shared by all of its servers, but by no others: another tenant's server could make up rows.
type knownRows struct {
	queue *queue.Queue

	mu     sync.Mutex
	stores map[queue.StoreID]*storeRows
	// none is the state of a removed server. It remains empty.
	none *storeRows
	// gone holds the rows of the stores of removed servers, the oldest first.
	gone []goneStore
	// rows counts the rows in newest and recorded, of all stores.
	rows int
}

// goneStore is the store of a removed server.
type goneStore struct {
	server types.NamespacedName
	*storeRows
}

// storeRows are rows of one message store.
type storeRows struct {
	// newest are the newest rows that were shown, by create_time.
	newest map[queue.Participants]knownRow
	// recorded are those of finished messages, see Engine.Recorded.
	recorded map[queue.Participants]knownRow
	// controls are of groups by their table, and of single chats at the end; the last noted first.
	controls [messageTables + 1][]controlRow
	// beginnings holds the beginnings of groups. They are dropped when the server is removed.
	beginnings map[queue.Participants]beginning
	fresh      freshRows
	// sendsUnwitnessed: see knownRows.sendUnwitnessed.
	sendsUnwitnessed bool
}

func newStoreRows() *storeRows {
	return &storeRows{newest: map[queue.Participants]knownRow{}, recorded: map[queue.Participants]knownRow{}}
}

func (s *storeRows) count() int { return len(s.newest) + len(s.recorded) }

func newKnownRows(q *queue.Queue) *knownRows {
	return &knownRows{queue: q, stores: map[queue.StoreID]*storeRows{}, none: newStoreRows()}
}

// follow applies changes of the stores.
func (k *knownRows) follow() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.applyChanges()
}

func (k *knownRows) applyChanges() {
	for _, change := range k.queue.TakeStoreChanges() {
		switch of := k.stores[change.From]; {
		case change.From == 0:
			k.restore(change.Server, change.To)
		case of == nil:
		case change.To == 0:
			delete(k.stores, change.From)
			k.retain(change.Server, of)
		default:
			k.copyRows(of, k.rowsOf(change.To))
		}
	}
}

// retain keeps the rows of the store of a removed server, which may be created again. They replace the rows that were
// kept before: a server that moves between stores takes its rows along.
func (k *knownRows) retain(server types.NamespacedName, of *storeRows) {
	if i := k.goneOf(server); i >= 0 {
		k.dropGone(i)
	}
	of.beginnings = nil
	k.gone = append(k.gone, goneStore{server, of})
	if len(k.gone) > maxGone {
		k.dropGone(0)
	}
}

func (k *knownRows) restore(server types.NamespacedName, store queue.StoreID) {
	if i := k.goneOf(server); i >= 0 {
		k.stores[store] = k.gone[i].storeRows
		k.gone = slices.Delete(k.gone, i, i+1)
	}
}

func (k *knownRows) goneOf(server types.NamespacedName) int {
	return slices.IndexFunc(k.gone, func(gone goneStore) bool { return gone.server == server })
}

func (k *knownRows) dropGone(i int) {
	k.rows -= k.gone[i].count()
	k.gone = slices.Delete(k.gone, i, i+1)
}

// copyRows adds the rows of one store to another one.
func (k *knownRows) copyRows(of, into *storeRows) {
	for c, row := range of.newest {
		k.noteNewer(into, into.newest, c, row)
	}
	for c, row := range of.recorded {
		k.noteNewer(into, into.recorded, c, row)
	}
	for table, rows := range of.controls {
		into.controls[table] = append(into.controls[table], rows[:min(len(rows), maxControls-len(into.controls[table]))]...)
	}
	into.fresh.merge(of.fresh)
}

// storeOf returns the rows of a conversation's store, or k.none if the server was removed.
func (k *knownRows) storeOf(c queue.Conversation) *storeRows {
	k.applyChanges()
	store := k.queue.StoreOf(c.Server)
	if store == 0 {
		return k.none
	}
	return k.rowsOf(store)
}

func (k *knownRows) rowsOf(store queue.StoreID) *storeRows {
	of := k.stores[store]
	if of == nil {
		of = newStoreRows()
		k.stores[store] = of
	}
	return of
}

// note remembers a row that was shown to a session, unless a newer one is known.
func (k *knownRows) note(c queue.Conversation, s dbproxy.Session, row knownRow) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.storeOf(c)
	k.noteNewer(of, of.newest, c.Participants, row)
	if of != k.none {
		of.noteControl(c.Participants, controlRow{s, row})
	}
}

// noteRecorded remembers a row that the status of a finished message shows.
func (k *knownRows) noteRecorded(c queue.Conversation, s dbproxy.Session, row knownRow) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.storeOf(c)
	k.noteNewer(of, of.recorded, c.Participants, row)
	if of != k.none && len(of.controls[tableOf(c.Participants)]) < maxControls {
		of.noteControl(c.Participants, controlRow{s, knownRow{id: row.id}})
	}
}

// noteNewer notes a row of one of a store's maps.
func (k *knownRows) noteNewer(of *storeRows, rows map[queue.Participants]knownRow, c queue.Participants, row knownRow) {
	before, known := rows[c]
	if of == k.none || known && row.createTime < before.createTime {
		return
	}
	if !known {
		if k.rows >= maxKnownRows {
			k.evict(of)
		}
		k.rows++
	}
	rows[c] = row
}

// evictionSample is how many stores are compared when there are too many rows. Their order is random.
const evictionSample = 8

// evict drops a row of a removed server's store, or of a store with many rows. So a tenant's rows do not replace those
// of a tenant with fewer.
func (k *knownRows) evict(most *storeRows) {
	if len(k.gone) > 0 {
		k.dropGone(0)
		return
	}
	sample := 0
	for _, of := range k.stores {
		if of.count() > most.count() {
			most = of
		}
		if sample++; sample == evictionSample && most.count() > 0 {
			break
		}
	}
	for _, rows := range []map[queue.Participants]knownRow{most.newest, most.recorded} {
		for c := range rows { // any
			delete(rows, c)
			k.rows--
			return
		}
	}
}

// shown returns the newest row of a conversation that was shown.
func (k *knownRows) shown(c queue.Conversation) (knownRow, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	row, known := k.storeOf(c).newest[c.Participants]
	return row, known
}

// shownOrRecorded returns the newest row of a conversation that was shown, or is recorded. The time of a recorded one
// is that of its record: it was created earlier.
func (k *knownRows) shownOrRecorded(c queue.Conversation) (knownRow, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.storeOf(c)
	row, known := of.newest[c.Participants]
	if !known {
		row, known = of.recorded[c.Participants]
	}
	return row, known
}

// controls returns the rows of other conversations that are the best evidence for c, and their unlikeness.
func (k *knownRows) controls(c queue.Conversation) (rows []controlRow, unlike int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for unlike = range mostUnlike {
		for table, of := range k.storeOf(c).controls {
			if unlikeness(tableOf(c.Participants), table) == unlike {
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

// unlikeness orders tables by how weak the rows of one are as evidence for the other. Reads of groups can fail while
// those of single chats work, and vice versa.
func unlikeness(a, b int) int {
	switch {
	case a == b:
		return 0
	case a != messageTables && b != messageTables: // both are of groups
		return 1
	}
	return otherKind
}

// noteControl puts a row first, in place of another one of its conversation.
func (s *storeRows) noteControl(c queue.Participants, row controlRow) {
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
func tableOf(c queue.Participants) int {
	if c.Type == v1alpha1.RecipientGroup {
		return int(c.High % messageTables)
	}
	return messageTables
}
