// SPDX-License-Identifier: Apache-2.0

package store

import (
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// byIDLimit is how many rows a query by id returns at most.
const byIDLimit = 100

const messageColumns = `m.id, c.kind, c.low, c.high, m.msg_id, m.from_id, m.to_id,
	m.create_time, m.type, m.content, m.stored_at, m.routed
	FROM messages m JOIN conversations c ON c.id = m.conversation `

// newest is TeamTalk's order of history. Ids may not be in order.
const newest = ` ORDER BY m.create_time DESC, m.id DESC `

// Reader is the reader of a history: the user, the conversation, and the view.
type Reader struct {
	User    uint32
	Session Session
	View
}

// joined returns the create_time from which the reader sees history. It returns false if the reader sees none.
func (s *Store) joined(r Reader) (from int64, visible bool, err error) {
	if visible, err = s.readable(r.View, r.Session); err != nil || !visible {
		return 0, false, err
	}
	if r.Session.Kind != wire.SessionType_SESSION_TYPE_GROUP {
		return 0, true, nil
	}
	visible, err = s.row([]any{&from}, `SELECT joined FROM members WHERE group_id = ? AND user_id = ?`,
		r.Session.Low, r.User)
	return from, visible, err
}

// List returns up to count messages, newest first; with begin, only ids up to it.
func (s *Store) List(r Reader, begin, count uint32) (messages []Message, err error) {
	limit := int64(begin)
	if begin == 0 {
		limit = int64(wire.MsgIDUnknown)
	}
	err = s.read(func() error {
		messages = nil
		from, visible, err := s.joined(r)
		if err != nil || !visible {
			return err
		}
		until, last := s.window(r.View)
		return s.rows(collect(&messages), `SELECT `+messageColumns+`
			WHERE c.kind = ? AND c.low = ? AND c.high = ?
			AND m.create_time >= ? AND m.stored_at <= ? AND m.id <= ? AND m.msg_id <= ?`+newest+`LIMIT ?`,
			int32(r.Session.Kind), r.Session.Low, r.Session.High, from, until, last, limit, count)
	})
	return messages, err
}

// ByID returns the messages with the ids, newest first and at most 100. Ids
// that are not stored are left out.
func (s *Store) ByID(r Reader, ids []uint32) (messages []Message, err error) {
	err = s.read(func() error {
		messages = nil
		from, visible, err := s.joined(r)
		if err != nil || !visible {
			return err
		}
		until, last := s.window(r.View)
		unique := map[uint32]bool{}
		for _, id := range ids {
			if unique[id] {
				continue
			}
			unique[id] = true
			if err := s.rows(collect(&messages), `SELECT `+messageColumns+`
				WHERE c.kind = ? AND c.low = ? AND c.high = ?
				AND +m.create_time >= ? AND m.stored_at <= ? AND +m.id <= ? AND m.msg_id = ?`, // +: find it by msg_id
				int32(r.Session.Kind), r.Session.Low, r.Session.High, from, until, last, id); err != nil {
				return err
			}
		}
		return nil
	})
	sortNewest(messages)
	return messages[:min(len(messages), byIDLimit)], err
}

// LatestID returns the id of the newest message by create_time, or 0. Unlike history, it does not require a membership.
func (s *Store) LatestID(r Reader) (id uint32, err error) {
	err = s.read(func() error {
		id = 0
		last, err := s.last(r.Session, r.View)
		if last != nil {
			id = last.MsgID
		}
		return err
	})
	return id, err
}

// last returns the newest message of a conversation that the view shows, or nil.
func (s *Store) last(session Session, v View) (*Message, error) {
	if readable, err := s.readable(v, session); err != nil || !readable {
		return nil, err
	}
	var messages []Message
	until, last := s.window(v)
	err := s.rows(collect(&messages), `SELECT `+messageColumns+`
		WHERE c.kind = ? AND c.low = ? AND c.high = ? AND m.stored_at <= ? AND m.id <= ?`+newest+`LIMIT 1`,
		int32(session.Kind), session.Low, session.High, until, last)
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	return &messages[0], nil
}

// Unread is one session with unread messages.
type Unread struct {
	Session wire.SessionType
	ID      uint32 // the peer or the group
	Count   uint32
	Latest  Message
}

// Unread returns a user's unread sessions: single chats, then groups. What the
// view does not show is left out.
func (s *Store) Unread(user uint32, v View) (sessions []Unread, err error) {
	err = s.read(func() error {
		sessions = nil
		if err := s.unread(&sessions, wire.SessionType_SESSION_TYPE_SINGLE,
			`SELECT peer_id, count FROM unread WHERE user_id = ? AND count > 0 ORDER BY peer_id`, user); err != nil {
			return err
		}
		if err := s.unread(&sessions, wire.SessionType_SESSION_TYPE_GROUP, `
			SELECT m.group_id, c.stored - m.read_count FROM members m
			JOIN conversations c ON c.kind = 2 AND c.low = m.group_id AND c.high = 0
			WHERE m.user_id = ? AND c.stored > m.read_count ORDER BY m.group_id`, user); err != nil {
			return err
		}
		kept := sessions[:0]
		for _, u := range sessions {
			last, err := s.last(SessionOf(u.Session, user, u.ID), v)
			if err != nil {
				return err
			}
			if last != nil {
				u.Latest = *last
				kept = append(kept, u)
			}
		}
		sessions = kept
		return nil
	})
	return sessions, err
}

func (s *Store) unread(sessions *[]Unread, kind wire.SessionType, query string, user uint32) error {
	return s.rows(func(scan func(...any) error) error {
		u := Unread{Session: kind}
		if err := scan(&u.ID, &u.Count); err != nil {
			return err
		}
		*sessions = append(*sessions, u)
		return nil
	}, query, user)
}

// Read marks a session as read by the user, whole: TeamTalk drops its counter
// whatever id was read up to.
func (s *Store) Read(user uint32, session Session) error {
	return s.write(func() error {
		if session.Kind == wire.SessionType_SESSION_TYPE_GROUP {
			return s.exec(`UPDATE members SET read_count = coalesce(
				(SELECT stored FROM conversations WHERE kind = 2 AND low = members.group_id AND high = 0), 0)
				WHERE group_id = ? AND user_id = ?`, session.Low, user)
		}
		peer := session.Low
		if peer == user {
			peer = session.High
		}
		return s.exec(`DELETE FROM unread WHERE user_id = ? AND peer_id = ?`, user, peer)
	})
}

func collect(messages *[]Message) func(func(...any) error) error {
	return func(scan func(...any) error) error {
		var m Message
		var kind, msgType int32
		if err := scan(&m.Row, &kind, &m.Session.Low, &m.Session.High, &m.MsgID, &m.From, &m.To,
			&m.CreateTime, &msgType, &m.Content, &m.StoredAt, &m.Routed); err != nil {
			return err
		}
		m.Session.Kind, m.Type = wire.SessionType(kind), wire.MsgType(msgType)
		*messages = append(*messages, m)
		return nil
	}
}
