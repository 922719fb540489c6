// SPDX-License-Identifier: Apache-2.0

package inbox

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Message is a stored message, decrypted.
type Message struct {
	// Row counts all stored messages, in the order in which they were stored.
	Row int64
	// Session is user:LOW:HIGH or group:ID.
	Session    string
	MsgID      uint32
	From, To   uint32
	Type       wire.MsgType
	CreateTime uint32 // unix seconds, as sent
	StoredAt   time.Time
	// Text is the decrypted text. It is empty if Undecryptable is set, and for audio.
	Text          string
	Undecryptable bool
	// Token is the delivery token in hexadecimal, or "".
	Token string
	// AudioSeconds is the length that audio claims to have.
	AudioSeconds uint32
	// Routed is how often the router has relayed the message.
	Routed int
	// ReadBy are the users, other than the sender, who have read it since the start.
	ReadBy []uint32
	// Raw is the content column.
	Raw []byte
}

// audioHeader is the length in bytes of the seconds before audio's sound.
const audioHeader = 4

// Reader reads the store's messages and decrypts them.
type Reader struct {
	*store.Store
	cipher *cipher.Cipher
}

// NewReader returns a Reader with the key of the messages.
func NewReader(s *store.Store, c *cipher.Cipher) *Reader { return &Reader{Store: s, cipher: c} }

// All returns every stored message in the order of storing.
func (r *Reader) All() ([]Message, error) { return r.decrypt(r.Store.All()) }

func (r *Reader) decrypt(rows []store.Message, err error) ([]Message, error) {
	if err != nil {
		return nil, err
	}
	messages := make([]Message, len(rows))
	for i, row := range rows {
		m := Message{
			Row: row.Row, Session: row.Session.String(), MsgID: row.MsgID, From: row.From, To: row.To, Type: row.Type,
			CreateTime: row.CreateTime, StoredAt: time.UnixMilli(row.StoredAt), Routed: row.Routed, Raw: row.Content,
		}
		switch {
		case !row.Type.Audio():
			plain, err := r.cipher.Decrypt(row.Content)
			if m.Undecryptable = err != nil; m.Undecryptable {
				break
			}
			m.Text = string(plain.Text)
			if plain.HasToken {
				m.Token = plain.Token.String()
			}
		case len(row.Content) >= audioHeader:
			m.AudioSeconds = binary.BigEndian.Uint32(row.Content)
		}
		messages[i] = m
	}
	return messages, nil
}

// MarshalJSON writes the message as /api/messages shows it.
func (m Message) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		ID            uint32   `json:"id"`
		Row           int64    `json:"row"`
		Session       string   `json:"session"`
		From          uint32   `json:"from"`
		To            uint32   `json:"to"`
		Type          string   `json:"type"`
		CreateTime    uint32   `json:"createTime"`
		StoredAt      string   `json:"storedAt"`
		Text          string   `json:"text"`
		Undecryptable bool     `json:"undecryptable,omitempty"`
		Token         string   `json:"token,omitempty"`
		AudioSeconds  uint32   `json:"audioSeconds,omitempty"`
		Routed        int      `json:"routed"`
		ReadBy        []uint32 `json:"readBy,omitempty"`
		RawLength     int      `json:"rawBase64Length"`
	}{
		m.MsgID, m.Row, m.Session, m.From, m.To, typeName(m.Type), m.CreateTime,
		m.StoredAt.UTC().Format(time.RFC3339Nano), m.Text, m.Undecryptable, m.Token, m.AudioSeconds, m.Routed,
		m.ReadBy, rawLength(m),
	})
}

// rawLength is the length of the content in base64, which texts are kept in already.
func rawLength(m Message) int {
	if m.Type.Audio() {
		return base64.StdEncoding.EncodedLen(len(m.Raw))
	}
	return len(m.Raw)
}

func typeName(t wire.MsgType) string {
	switch t {
	case wire.MsgType_MSG_TYPE_SINGLE_TEXT:
		return "singleText"
	case wire.MsgType_MSG_TYPE_SINGLE_AUDIO:
		return "singleAudio"
	case wire.MsgType_MSG_TYPE_GROUP_TEXT:
		return "groupText"
	default:
		return "groupAudio"
	}
}
