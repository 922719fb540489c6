// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"bytes"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Fingerprint identifies a message among rows. Ciphertexts are never compared: keys rotate.
type Fingerprint struct {
	Sender uint32
	// Reach is in unix seconds. A group's history is whole only if it has a row as old as this. If it is 0, it always is.
	Reach uint32
	// Token of a text. Where it is not sent with one (HasToken), CreateTime and the payload decide as well.
	Token      cipher.Token
	HasToken   bool
	CreateTime uint32
	Payload    Payload
}

// sameKind reports whether row has the message's sender and type.
func (f Fingerprint) sameKind(row *wire.MsgInfo) bool {
	return row.GetFromSessionId() == f.Sender && row.GetMsgType().Audio() == f.Payload.Audio
}

// Matches reports whether row is the message.
func (f Fingerprint) Matches(row *wire.MsgInfo, keys cipher.Keys) bool {
	if !f.sameKind(row) {
		return false
	}
	// HasToken does not matter here: an earlier operator may have sent it with a token.
	hasToken := func(p cipher.Plain) bool { return p.HasToken && p.Token == f.Token }
	if !f.Payload.Audio && keys.Open(row.GetMsgData(), hasToken) {
		return true
	}
	return !f.HasToken && f.CreateTime != 0 && row.GetCreateTime() == f.CreateTime && f.sameContent(row, keys)
}

// conceals reports whether row may be the message although it does not match. That is so if no key decrypts it, or if
// it has the message's time and other content. The content differs after an edit, or if db_proxy cannot read an audio
// file. A text that is not a ciphertext is not the operator's.
func (f Fingerprint) conceals(row *wire.MsgInfo, keys cipher.Keys) bool {
	switch {
	case !f.sameKind(row), !f.Payload.Audio && !cipher.IsCiphertext(row.GetMsgData()):
		return false
	case !f.HasToken && (f.CreateTime == 0 || row.GetCreateTime() == f.CreateTime):
		return true
	}
	return !f.Payload.Audio && keys.MayHide(row.GetMsgData(), time.Unix(int64(row.GetCreateTime()), 0))
}

// Verifies reports whether row is the message with the content that was sent.
func (f Fingerprint) Verifies(row *wire.MsgInfo, keys cipher.Keys) bool {
	return f.Matches(row, keys) && f.sameContent(row, keys)
}

func (f Fingerprint) sameContent(row *wire.MsgInfo, keys cipher.Keys) bool {
	if f.Payload.Audio {
		return bytes.Equal(row.GetMsgData(), f.Payload.Data)
	}
	return keys.Open(row.GetMsgData(), func(p cipher.Plain) bool { return f.Payload.isText(p.Text) })
}
