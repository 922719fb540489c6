package delivery

import (
	"bytes"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Fingerprint is how a message is known again among the rows of its conversation.
// Ciphertexts are never compared: keys rotate.
type Fingerprint struct {
	Sender uint32
	// Reach, in unix seconds: a group's history must show a row as old as this, or it
	// may hide newer ones. 0: it need not.
	Reach uint32
	// Token of a text. Where it is not sent with one (HasToken), CreateTime and the
	// payload decide as well.
	Token      cipher.Token
	HasToken   bool
	CreateTime uint32
	Payload    Payload
}

// Matches reports whether row is the marked message.
func (m Fingerprint) Matches(row *wire.MsgInfo, keys cipher.Keys) bool {
	if row.GetFromSessionId() != m.Sender || row.GetMsgType().Audio() != m.Payload.Audio {
		return false
	}
	// Whether it carries one or not now: an earlier operator may have been told to.
	if !m.Payload.Audio && keys.Open(row.GetMsgData(), func(p cipher.Plain) bool { return p.HasToken && p.Token == m.Token }) {
		return true
	}
	if m.HasToken {
		return false
	}
	if m.CreateTime == 0 || row.GetCreateTime() != m.CreateTime {
		return false
	}
	return m.sameContent(row, keys)
}

// conceals reports whether row may be the marked message without showing it: no
// key at hand opens it, or it bears the time by which the message is known and
// other content. db_proxy answers so where it cannot read a sound, and a ConfigMap
// may have changed since.
func (m Fingerprint) conceals(row *wire.MsgInfo, keys cipher.Keys) bool {
	if row.GetFromSessionId() != m.Sender || row.GetMsgType().Audio() != m.Payload.Audio {
		return false
	}
	if !m.HasToken && (m.CreateTime == 0 || row.GetCreateTime() == m.CreateTime) {
		return true
	}
	return !m.Payload.Audio && !keys.Open(row.GetMsgData(), func(cipher.Plain) bool { return true })
}

// Verifies reports whether row is the marked message with the very content that
// was sent.
func (m Fingerprint) Verifies(row *wire.MsgInfo, keys cipher.Keys) bool {
	return m.Matches(row, keys) && m.sameContent(row, keys)
}

func (m Fingerprint) sameContent(row *wire.MsgInfo, keys cipher.Keys) bool {
	if m.Payload.Audio {
		return bytes.Equal(row.GetMsgData(), m.Payload.Data)
	}
	return keys.Open(row.GetMsgData(), func(p cipher.Plain) bool { return bytes.Equal(p.Text, m.Payload.Data) })
}
