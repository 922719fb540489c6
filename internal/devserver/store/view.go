// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// View restricts the rows that a read sees. The zero value sees all rows.
type View struct {
	// Lag hides rows stored later than this before now, as a replica does that
	// has not caught up.
	Lag time.Duration
	// StoppedAfter hides rows after this one, as a stopped replica does. If nil, it hides none.
	StoppedAfter *int64
	// Unreadable are tables in which no read finds anything: names as Table returns
	// them, or sessions as Session.String writes them, for the tables of these.
	Unreadable []string
}

// window returns the stored_at and the row up to which a view shows rows.
func (s *Store) window(v View) (until, last int64) {
	last = math.MaxInt64
	if v.StoppedAfter != nil {
		last = *v.StoppedAfter
	}
	return s.options.Now().Add(-v.Lag).UnixMilli(), last
}

// LastRow returns the number of the last stored row, or 0.
func (s *Store) LastRow() (row int64, err error) {
	err = s.read(func() error {
		_, err := s.row([]any{&row}, `SELECT coalesce(max(id), 0) FROM messages`)
		return err
	})
	return row, err
}

// tables is over how many tables TeamTalk spreads each kind of messages.
const tables = 8

// Table returns the name of the table that holds a session's messages. It is empty for two users without messages:
// TeamTalk chooses their table at the first message.
func (s *Store) Table(session Session) (name string, err error) {
	err = s.read(func() error {
		name, err = s.table(session)
		return err
	})
	return name, err
}

func (s *Store) table(session Session) (string, error) {
	if session.Kind == wire.SessionType_SESSION_TYPE_GROUP {
		return fmt.Sprintf("IMGroupMessage_%d", session.Low%tables), nil
	}
	var relation int64
	known, err := s.row([]any{&relation}, `SELECT id FROM conversations WHERE kind = ? AND low = ? AND high = ?`,
		int32(session.Kind), session.Low, session.High)
	if err != nil || !known {
		return "", err
	}
	return fmt.Sprintf("IMMessage_%d", relation%tables), nil
}

// readable reports whether a view shows the table of a session.
func (s *Store) readable(v View, session Session) (bool, error) {
	if len(v.Unreadable) == 0 {
		return true, nil
	}
	own, err := s.table(session)
	if err != nil || own == "" {
		return true, err
	}
	for _, name := range v.Unreadable {
		if named, err := ParseSession(name); err == nil {
			if name, err = s.table(named); err != nil {
				return false, err
			}
		}
		if name == own {
			return false, nil
		}
	}
	return true, nil
}

// RecentSession is one session in a user's list.
type RecentSession struct {
	Session Session
	ID      uint32 // the peer or the group
	Updated uint32 // unix seconds
	// Latest is nil where the view shows none.
	Latest *Message
}

// recentLimit is how many sessions TeamTalk lists.
const recentLimit = 100

// RecentSessions returns a user's sessions that were updated after a time in unix
// seconds, the last updated first: its single chats, and the groups that it has
// written to. Unlike TeamTalk it has no table for them, so that a send costs no more.
func (s *Store) RecentSessions(user, after uint32, v View) (recent []RecentSession, err error) {
	err = s.read(func() error {
		recent = nil
		var sessions []Session
		if err := s.rows(func(scan func(...any) error) error {
			var kind int32
			var session Session
			err := scan(&kind, &session.Low, &session.High)
			session.Kind = wire.SessionType(kind)
			sessions = append(sessions, session)
			return err
		}, `SELECT kind, low, high FROM conversations c WHERE kind = 1 AND (low = ? OR high = ?) OR kind = 2
			AND EXISTS (SELECT 1 FROM messages m WHERE m.conversation = c.id AND m.from_id = ?)`,
			user, user, user); err != nil {
			return err
		}
		for _, session := range sessions {
			r, listed, err := s.recent(user, session, v)
			if err != nil {
				return err
			}
			if listed && r.Updated > after {
				recent = append(recent, r)
			}
		}
		slices.SortStableFunc(recent, func(a, b RecentSession) int { return cmp.Compare(b.Updated, a.Updated) })
		recent = recent[:min(len(recent), recentLimit)]
		return nil
	})
	return recent, err
}

// recent returns a session as in the user's list. It returns false if a replica does not have it yet.
func (s *Store) recent(user uint32, session Session, v View) (r RecentSession, listed bool, err error) {
	r = RecentSession{Session: session, ID: session.Low}
	if session.Kind == wire.SessionType_SESSION_TYPE_SINGLE && user == session.Low {
		r.ID = session.High
	}
	// The list is in a table of its own, which is not one of those that may be unreadable.
	stored, err := s.last(session, View{Lag: v.Lag, StoppedAfter: v.StoppedAfter})
	if err != nil || stored == nil {
		return r, false, err
	}
	r.Updated = uint32(time.UnixMilli(stored.StoredAt).Unix())
	r.Latest, err = s.last(session, v)
	return r, true, err
}
