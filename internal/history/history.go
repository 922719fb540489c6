// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// MaxCount is the highest number of messages that Read returns. db_proxy takes up to 0.1 s for one with audio.
const MaxCount = 1000

var (
	// ErrHidden reports that db_proxy has messages of the conversation that it does not show.
	ErrHidden = errors.New("db_proxy shows no message of the conversation, though it has one: the sender joined the " +
		"group after the last message, or a table of its database cannot be read")
	// ErrNoDirectory reports that db_proxy shows neither messages nor users.
	ErrNoDirectory = errors.New("db_proxy shows neither the conversation nor the requesting user: " +
		"its database cannot be read, or the user does not exist")
)

// Kind is the kind of a message's content.
type Kind string

// Kinds of messages.
const (
	KindText  Kind = "Text"
	KindAudio Kind = "Audio"
	// KindUnreadable is a text that no key decrypts.
	KindUnreadable Kind = "Unreadable"
)

// Message is a message of a conversation.
type Message struct {
	// ID is TeamTalk's id of the message in the conversation.
	ID uint32 `json:"id"`
	// From is the user who has sent it.
	From uint32 `json:"from"`
	// Time is when it was sent, by the clock of who sent it.
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	Text string    `json:"text,omitempty"`
	// AudioSeconds is the length that clients show, and AudioBytes the size of the sound.
	AudioSeconds uint32 `json:"audioSeconds,omitempty"`
	AudioBytes   int    `json:"audioBytes,omitempty"`
	// Token is the delivery token of a message that an operator has sent, in hexadecimal digits.
	Token string `json:"token,omitempty"`
}

// Reads are the requests of Read.
type Reads interface {
	Scan(ctx context.Context, s dbproxy.Session, count uint32, to dbproxy.Scanner) error
	LatestID(ctx context.Context, s dbproxy.Session) (uint32, error)
	Users(ctx context.Context, requester uint32, ids []uint32) (map[uint32]*wire.UserInfo, error)
}

// Read returns the newest messages of a conversation, the oldest of them first. It returns none only if the store has
// none. In a group, db_proxy shows the messages that were sent after the session's user joined.
func Read(
	ctx context.Context, reads Reads, keys cipher.Keys, s dbproxy.Session, count int,
) ([]Message, error) {
	c := &collector{keys: keys}
	if err := reads.Scan(ctx, s, uint32(min(max(count, 1), MaxCount)), c); err != nil {
		return nil, fmt.Errorf("read the conversation: %w", err)
	}
	if len(c.messages) == 0 {
		return nil, checkEmpty(ctx, reads, s)
	}
	// db_proxy orders by time, which has seconds.
	slices.SortStableFunc(c.messages, func(a, b Message) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID))
	})
	return c.messages, nil
}

// checkEmpty returns why an empty answer may be wrong: db_proxy answers so as well if its database fails.
func checkEmpty(ctx context.Context, reads Reads, s dbproxy.Session) error {
	latest, err := reads.LatestID(ctx, s)
	switch {
	case err != nil:
		return fmt.Errorf("read the latest id of the conversation: %w", err)
	case latest != 0:
		return ErrHidden
	}
	users, err := reads.Users(ctx, s.UserID, []uint32{s.UserID})
	switch {
	case err != nil:
		return fmt.Errorf("read the requesting user: %w", err)
	case len(users) == 0:
		return ErrNoDirectory
	}
	return nil
}

// collector builds messages from rows. It holds no sounds.
type collector struct {
	keys     cipher.Keys
	messages []Message
}

// Begin implements dbproxy.Scanner.
func (c *collector) Begin() { c.messages = nil }

// Row implements dbproxy.Scanner.
func (c *collector) Row(row *wire.MsgInfo) {
	m := Message{
		ID: row.GetMsgId(), From: row.GetFromSessionId(), Time: time.Unix(int64(row.GetCreateTime()), 0).UTC(),
		Kind: KindText,
	}
	data := row.GetMsgData()
	const header = 4
	switch {
	case row.GetMsgType().Audio():
		m.Kind = KindAudio
		if len(data) >= header {
			m.AudioSeconds, m.AudioBytes = binary.BigEndian.Uint32(data), len(data)-header
		}
	default:
		m.open(c.keys, data)
	}
	c.messages = append(c.messages, m)
}

// open decrypts the text. A wrong key may seem to open a text, so one that yields no text is the last choice.
func (m *Message) open(keys cipher.Keys, data []byte) {
	isText := func(p cipher.Plain) bool { return p.HasToken || utf8.Valid(p.Text) }
	for _, accept := range []func(cipher.Plain) bool{isText, func(cipher.Plain) bool { return true }} {
		if keys.Open(data, func(p cipher.Plain) bool {
			if !accept(p) {
				return false
			}
			m.Text = string(p.Text)
			if p.HasToken {
				m.Token = p.Token.String()
			}
			return true
		}) {
			return
		}
	}
	m.Kind = KindUnreadable
}
