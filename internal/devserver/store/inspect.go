// SPDX-License-Identifier: Apache-2.0

package store

import (
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// These functions are for inspection and tests. TeamTalk has nothing like them.

// Age makes every stored message older.
func (s *Store) Age(by time.Duration) error {
	return s.write(func() error {
		return s.exec(`UPDATE messages SET create_time = create_time - ?, stored_at = stored_at - ?`,
			int64(by/time.Second), by.Milliseconds())
	})
}

// All returns every stored message in the order of storing.
func (s *Store) All() (messages []Message, err error) {
	err = s.read(func() error {
		messages = nil
		return s.rows(collect(&messages), `SELECT `+messageColumns+` ORDER BY m.id`)
	})
	return messages, err
}

// Latest returns the last stored messages, up to limit, oldest first.
func (s *Store) Latest(limit int) ([]Message, error) {
	return s.latest(limit, ``)
}

// LatestOf returns the last stored messages of a conversation, oldest first.
func (s *Store) LatestOf(session Session, limit int) ([]Message, error) {
	return s.latest(limit, `WHERE c.kind = ? AND c.low = ? AND c.high = ?`,
		int32(session.Kind), session.Low, session.High)
}

// LatestWith returns the last stored messages of all of a user's single chats,
// oldest first.
func (s *Store) LatestWith(user uint32, limit int) ([]Message, error) {
	return s.latest(limit, `WHERE c.kind = 1 AND (c.low = ? OR c.high = ?)`, user, user)
}

func (s *Store) latest(limit int, where string, args ...any) (messages []Message, err error) {
	err = s.read(func() error {
		messages = nil
		return s.rows(collect(&messages), `SELECT * FROM (SELECT `+messageColumns+where+
			` ORDER BY m.id DESC LIMIT ?) ORDER BY id`, append(slices.Clip(args), limit)...)
	})
	return messages, err
}

// Conversation is one session with how many messages it stores.
type Conversation struct {
	Session  Session
	Messages int
}

// Conversations returns every session that has messages.
func (s *Store) Conversations() (all []Conversation, err error) {
	err = s.read(func() error {
		all = nil
		return s.rows(func(scan func(...any) error) error {
			var c Conversation
			var kind int32
			if err := scan(&kind, &c.Session.Low, &c.Session.High, &c.Messages); err != nil {
				return err
			}
			c.Session.Kind = wire.SessionType(kind)
			all = append(all, c)
			return nil
		}, `SELECT kind, low, high, stored FROM conversations WHERE stored > 0 ORDER BY id`)
	})
	return all, err
}
