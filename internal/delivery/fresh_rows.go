// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxFresh is how many of the rows stored within a replica lag are remembered.
	maxFresh = 8
	// freshFor is how long the newest rows must be shown before the first send under a key. It is less than a doubt may
	// last: rows that were deleted, or of which nothing was kept, end no doubt as one.
	freshFor = InDoubtLimit / 2
)

// freshRow is a row that db_proxy has stored between two times. One that it acknowledged counts, shown or not.
type freshRow struct {
	controlRow
	sentAt, storedAt time.Time
	// idsRepeat is true if a higher id was known in the conversation before. Then ids do not tell the order of its rows.
	idsRepeat bool
}

// freshRows holds some of the rows that this process has stored, the oldest first. It has the last one, one that is
// older than the longest replica lag, and some in between.
type freshRows struct {
	rows []freshRow
	// lag is the longest of all servers of the store.
	lag time.Duration
}

// add adds a row, for replicas that lag so much. One that soon follows another one replaces it.
func (f *freshRows) add(row freshRow, lag time.Duration) {
	f.lag = max(f.lag, lag)
	if n := len(f.rows); n > 1 && row.storedAt.Sub(f.rows[n-2].storedAt) < f.lag/maxFresh {
		f.rows = f.rows[:n-1]
	}
	f.rows = append(f.rows, row)
	f.prune()
}

// merge adds the rows of another store.
func (f *freshRows) merge(others freshRows) {
	f.lag = max(f.lag, others.lag)
	f.rows = append(f.rows, others.rows...)
	slices.SortFunc(f.rows, func(a, b freshRow) int { return a.storedAt.Compare(b.storedAt) })
	f.rows = slices.CompactFunc(f.rows, func(a, b freshRow) bool { return a.controlRow == b.controlRow })
	f.prune()
}

func (f *freshRows) prune() {
	isLate := func(r freshRow) bool { return !r.storedAt.After(f.rows[len(f.rows)-1].storedAt.Add(-f.lag)) }
	for len(f.rows) > 1 && isLate(f.rows[1]) || len(f.rows) > 2*maxFresh {
		f.rows = slices.Delete(f.rows, 0, 1)
	}
}

// noteStored remembers a row that this process sent at one time, and that db_proxy had stored by another.
func (k *knownRows) noteStored(
	c queue.Conversation, s dbproxy.Session, row knownRow, sentAt, storedAt time.Time, lag time.Duration,
) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.storeOf(c)
	if of == k.none {
		return
	}
	repeat := of.newest[c.Participants].id > row.id
	of.fresh.add(freshRow{controlRow{s, row}, sentAt, storedAt, repeat}, lag)
}

// stored returns rows that this process has stored, the oldest first.
func (k *knownRows) stored(c queue.Conversation) []freshRow {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.storeOf(c).fresh.rows)
}

// rowsToShow returns the stored rows of which an answer that proves absence must show one.
func (q *question) rowsToShow(stored []freshRow) []freshRow {
	if q.to.unseenKey {
		// The key may have been used at any time. Replicas must show the newest row that is older than their lag; any newer
		// one will do as well.
		for i, r := range slices.Backward(stored) {
			if age := q.askedAt.Sub(r.storedAt); age > freshFor {
				break
			} else if age >= q.task.Policy.ReplicaLag {
				return stored[i:]
			}
		}
		return nil
	}
	// db_proxy may have executed the attempt so late.
	executed := q.to.lastAttempt.Add(q.task.Policy.Settle)
	for i, r := range stored {
		if r.sentAt.After(executed) {
			return slices.DeleteFunc(stored[i:], func(r freshRow) bool { return !r.sentAt.After(executed) })
		}
	}
	if n := len(stored); n > 0 && stored[n-1].storedAt.After(q.to.lastAttempt) {
		return stored[n-1:]
	}
	return nil
}

// sendUnwitnessed permits sending a message whose absence was proved while no later row was known. Only one is sent at
// a time. Its row is then the later row for the others, which are searched for again. Otherwise all of them would be
// stored twice if all replicas stopped when db_proxy lost its connections: 24 of 24 were in a test. ok is false if
// another one is being sent, or if db_proxy has stored a row since the last attempt. release must be called after the
// answer is noted.
func (k *knownRows) sendUnwitnessed(c queue.Conversation, lastAttempt time.Time) (release func(), ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.storeOf(c)
	if of == k.none {
		return func() {}, true
	}
	n := len(of.fresh.rows)
	if of.sendsUnwitnessed || n > 0 && of.fresh.rows[n-1].storedAt.After(lastAttempt) {
		return nil, false
	}
	of.sendsUnwitnessed = true
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		of.sendsUnwitnessed = false
	}, true
}

// proveFresh returns why the next answers may be older than the last attempt, or "". db_proxy has stored other rows
// since then, and an answer must show one of them. If a store acknowledges but stores nothing, only the last message
// has no later rows. So it is sent again, and proves the absence of the others.
func (q *question) proveFresh(ctx context.Context) (why string, err error) {
	began := time.Now()
	rows := q.rowsToShow(q.known.stored(q.conversation))
	q.unwitnessed = len(rows) == 0 && !q.to.unseenKey
	for _, row := range rows {
		if why = whyStale; time.Since(began) > scanTime {
			break
		}
		if shown, err := q.showsFresh(ctx, row); err != nil || shown {
			return "", err
		}
	}
	return why, nil
}

// showsFresh reports whether a row is shown, or one of its group that is newer: the sender may have left the group.
func (q *question) showsFresh(ctx context.Context, row freshRow) (bool, error) {
	rows, err := q.path.ByID(ctx, row.Session, []uint32{row.id})
	if err != nil || slices.ContainsFunc(rows, func(r *wire.MsgInfo) bool { return knownRowOf(r) == row.knownRow }) {
		return err == nil, err
	}
	if row.Type != wire.SessionType_SESSION_TYPE_GROUP || row.idsRepeat {
		return false, nil
	}
	latest, err := q.path.LatestID(ctx, row.Session)
	return latest >= row.id, err
}
