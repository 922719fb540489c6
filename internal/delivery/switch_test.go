package delivery

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestTokenSwitchedOff: a message that was sent with a token is known by it even
// where messages carry none any more.
func TestTokenSwitchedOff(t *testing.T) {
	c := key(t, 1)
	before := Task{Identity: Identity{UID: "u"}, Sender: bot, Token: true, Payload: Payload{Data: []byte("hello")}}
	after := before
	after.Token = false
	p := recipientState{Progress: Progress{Recipient: toAlice}}
	typ := wire.MsgType_MSG_TYPE_SINGLE_TEXT
	sent := &wire.MsgInfo{
		MsgId: proto.Uint32(1), FromSessionId: proto.Uint32(bot), CreateTime: proto.Uint32(1000), MsgType: &typ,
		MsgData: c.EncryptWithToken(before.Payload.Data, before.fingerprint(p).Token),
	}
	staged := p
	staged.CreateTime = 2000 // given after the switch
	if !after.fingerprint(staged).Matches(sent, cipher.Keys{Current: c}) {
		t.Error("it is not known again")
	}
	other := after
	other.Identity.UID = "v"
	if other.fingerprint(staged).Matches(sent, cipher.Keys{Current: c}) {
		t.Error("another message passes for it")
	}
}
