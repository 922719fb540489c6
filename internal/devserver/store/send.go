// SPDX-License-Identifier: Apache-2.0

package store

import (
	"unicode/utf8"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Message is a row of the store.
type Message struct {
	// Row counts all stored messages, in the order in which they were stored.
	Row        int64
	Session    Session
	MsgID      uint32
	From, To   uint32
	CreateTime uint32 // unix seconds, as sent
	Type       wire.MsgType
	Content    []byte
	StoredAt   int64 // unix milliseconds
	Routed     int   // relays by the router
}

// Send is a message to be stored.
type Send struct {
	From, To   uint32
	CreateTime uint32
	Type       wire.MsgType
	Content    []byte
	// Discard draws an id and stores nothing.
	Discard bool
	// KeepID stores under the id given here and draws none.
	KeepID uint32
}

// audioHeader is the length in bytes of the seconds before audio's sound;
// TeamTalk stores nothing of a payload that has no more.
const audioHeader = 4

// Send draws the next id of the conversation and stores the message. A message that does not fit its column also draws
// an id, and is not stored. The answer is false if a stock server would not answer: the sender is not in such a group.
func (s *Store) Send(m Send) (id uint32, answered bool, err error) {
	session := SessionOf(m.Type.SessionType(), m.From, m.To)
	content, fits := s.fit(m.Type, m.Content)
	stored := fits && !m.Discard
	err = s.write(func() error {
		answered = false
		group := session.Kind == wire.SessionType_SESSION_TYPE_GROUP
		if group {
			member, err := s.member(m.To, m.From)
			if err != nil || !member {
				return err
			}
		}
		answered = true
		var conversation, count int64
		if _, err := s.row([]any{&conversation, &id, &count}, `
			INSERT INTO conversations (kind, low, high, drawn, stored) VALUES (?, ?, ?, 1, ?)
			ON CONFLICT DO UPDATE SET drawn = drawn + 1, stored = stored + excluded.stored
			RETURNING id, drawn, stored`,
			int32(session.Kind), session.Low, session.High, stored); err != nil {
			return err
		}
		if m.KeepID != 0 {
			id = m.KeepID
		}
		if !stored {
			return nil
		}
		if err := s.exec(`
			INSERT INTO messages (conversation, msg_id, from_id, to_id, create_time, type, content, stored_at, routed)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)`,
			conversation, id, m.From, m.To, m.CreateTime, int32(m.Type), content,
			s.options.Now().UnixMilli()); err != nil {
			return err
		}
		if group {
			// Senders have read their own messages, and all earlier ones.
			return s.exec(`UPDATE members SET read_count = ? WHERE group_id = ? AND user_id = ?`, count, m.To, m.From)
		}
		return s.exec(`
			INSERT INTO unread (user_id, peer_id, count) VALUES (?, ?, 1)
			ON CONFLICT DO UPDATE SET count = count + 1`, m.To, m.From)
	})
	return id, answered && err == nil, err
}

// fit returns the content as its column holds it, and false where it holds it not.
func (s *Store) fit(t wire.MsgType, content []byte) ([]byte, bool) {
	if t.Audio() {
		// Audio is stored in files, without a limit.
		return content, len(content) > audioHeader
	}
	if len(content) <= ContentLimit || utf8.RuneCount(content) <= ContentLimit {
		return content, true
	}
	if !s.options.LaxSQL {
		return nil, false
	}
	end := 0
	for range ContentLimit {
		_, size := utf8.DecodeRune(content[end:])
		end += size
	}
	return content[:end], true
}

// Routed records that the router has relayed a message. It does not wait. Later reads of the store see it.
func (s *Store) Routed(session Session, msgID uint32) {
	// A store that is closing has no readers.
	_ = s.submit(&job{writes: true, run: func() error {
		return s.exec(`
			UPDATE messages SET routed = routed + 1 WHERE msg_id = ? AND conversation =
				(SELECT id FROM conversations WHERE kind = ? AND low = ? AND high = ?)`,
			msgID, int32(session.Kind), session.Low, session.High)
	}})
}
