// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestFramesThatKillStockServers(t *testing.T) {
	for name, length := range map[string]uint32{"0": 0, "1": 1, "15": 15, "too long": maxFrame + 1} {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil)
			bad, good := dial(t, s.DBProxyAddr()), dial(t, s.DBProxyAddr())
			bad.write(append(binary.BigEndian.AppendUint32(nil, length), make([]byte, 12)...))
			if !bad.ended() {
				t.Error("the connection is still open")
			}
			good.settle()
		})
	}
}

// TestClosedEnums shows that values which Go's protobuf accepts go unanswered.
func TestClosedEnums(t *testing.T) {
	const none = 99
	tests := map[string]struct {
		command wire.Command
		request proto.Message
	}{
		"message type": {wire.CommandMsgData, textMessage(t, 1, 2, none, "typed")},
		"session type of a list": {
			wire.CommandMsgListReq, listRequest(1, 2, 1, none),
		},
		"group type": {wire.CommandGroupCreateReq, &wire.IMGroupCreateReq{
			UserId: proto.Uint32(0), GroupType: wire.GroupType(none).Enum(), GroupName: proto.String("g"), GroupAvatar: proto.String(""),
		}},
		"change": {wire.CommandGroupChangeReq, &wire.IMGroupChangeMemberReq{
			UserId: proto.Uint32(0), ChangeType: wire.GroupModifyType(none).Enum(), GroupId: proto.Uint32(7), MemberIdList: []uint32{9},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := dial(t, start(t, nil).DBProxyAddr())
			c.send(test.command, 1, test.request)
			equal(t, "answers", []uint16(nil), seqs(c.settle()))
		})
	}
}

func TestHeartbeatsAndSilence(t *testing.T) {
	s := start(t, func(o *Options) {
		o.HeartbeatInterval, o.SilenceTimeout = 10*time.Millisecond, 300*time.Millisecond
	})
	c := dial(t, s.DBProxyAddr())
	equal(t, "PDU", wire.CommandHeartBeat, c.next().Command)
	if !c.ended() {
		t.Error("a silent peer's connection is still open")
	}
}

func TestTextsBeyondTheColumn(t *testing.T) {
	for name, lax := range map[string]bool{"strict": false, "lax": true} {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, func(o *Options) { o.LaxSQL = lax })
			c.text(1, 1, 2, single, strings.Repeat("x", 3068))
			c.text(2, 1, 2, single, strings.Repeat("x", 3069))
			equal(t, "first id", uint32(1), body[wire.IMMsgData](t, c.next()).GetMsgId())
			equal(t, "second id", uint32(2), body[wire.IMMsgData](t, c.next()).GetMsgId())
			messages := stored(t, s)
			if !lax {
				equal(t, "rows", 1, len(messages))
				return
			}
			equal(t, "rows", 2, len(messages))
			equal(t, "length", 4096, len(messages[1].Raw))
		})
	}
}

func TestAudioHasNoLimit(t *testing.T) {
	s, c := serve(t, nil)
	audio := append([]byte{0, 0, 0, 7}, bytes.Repeat([]byte{0xAB}, 20000)...)
	m := textMessage(t, 1, 2, wire.MsgType_MSG_TYPE_SINGLE_AUDIO, "")
	m.MsgData = audio
	c.send(wire.CommandMsgData, 1, m)
	c.next()
	c.send(wire.CommandMsgListReq, 2, listRequest(2, 1, 1, oneToOne))
	equal(t, "audio", audio, body[wire.IMGetMsgListRsp](t, c.next()).GetMsgList()[0].GetMsgData())
	messages := stored(t, s)
	equal(t, "seconds", uint32(7), messages[0].AudioSeconds)
}

func TestHistory(t *testing.T) {
	s, c := serve(t, nil)
	now := uint32(time.Now().Unix())
	at := func(seq uint16, kind wire.MsgType, to, created uint32, text string) {
		m := textMessage(t, 1, to, kind, text)
		m.CreateTime = proto.Uint32(created)
		c.send(wire.CommandMsgData, seq, m)
		c.next()
	}
	ids := func(user, id, begin, count uint32, kind wire.SessionType) (ids []uint32) {
		r := listRequest(user, id, count, kind)
		r.MsgIdBegin = proto.Uint32(begin)
		c.send(wire.CommandMsgListReq, 9, r)
		for _, m := range body[wire.IMGetMsgListRsp](t, c.next()).GetMsgList() {
			ids = append(ids, m.GetMsgId())
		}
		return ids
	}
	at(1, single, 2, now, "id 1")
	at(2, single, 2, now-50, "id 2")
	at(3, single, 2, now, "id 3")
	equal(t, "by create_time, then the later stored", []uint32{3, 1, 2}, ids(1, 2, 0, 10, oneToOne))
	equal(t, "of the other side", []uint32{3, 1, 2}, ids(2, 1, 0, 10, oneToOne))
	equal(t, "up to id 2", []uint32{1, 2}, ids(1, 2, 2, 10, oneToOne))
	equal(t, "the newest", []uint32{3}, ids(1, 2, 0, 1, oneToOne))

	at(4, groupText, 7, now-1000, "before 9 joined")
	equal(t, "for a member", []uint32{1}, ids(3, 7, 0, 10, inGroup))
	equal(t, "for a user who is no member", []uint32(nil), ids(9, 7, 0, 10, inGroup))
	if err := s.SetMembers(7, 1, 2, 9); err != nil {
		t.Fatal(err)
	}
	at(5, groupText, 7, now+5, "after 9 joined")
	equal(t, "for the new member", []uint32{2}, ids(9, 7, 0, 10, inGroup))
	equal(t, "for one who was there before", []uint32{2, 1}, ids(1, 7, 0, 10, inGroup))
	equal(t, "for one who left", []uint32(nil), ids(3, 7, 0, 10, inGroup))

	c.send(wire.CommandUnreadCntReq, 1, &wire.IMUnreadMsgCntReq{UserId: proto.Uint32(2)})
	unread := body[wire.IMUnreadMsgCntRsp](t, c.next())
	equal(t, "unread of 2: three from 1, two of the group", uint32(5), unread.GetTotalCnt())
	c.send(wire.CommandUnreadCntReq, 1, &wire.IMUnreadMsgCntReq{UserId: proto.Uint32(1)})
	equal(t, "unread of the sender", uint32(0), body[wire.IMUnreadMsgCntRsp](t, c.next()).GetTotalCnt())
}

func TestRequestsOnOneConnectionFinishInNoOrder(t *testing.T) {
	_, c := serve(t, func(o *Options) { o.Workers = 0 })
	const n = 500
	for seq := range uint16(n) {
		c.text(seq, 1, 2, single, "unordered")
	}
	inOrder, seen := true, map[uint16]bool{}
	for i := range uint16(n) {
		seq := c.next().Seq
		inOrder = inOrder && seq == i
		seen[seq] = true
	}
	if inOrder || len(seen) != n {
		t.Errorf("in order: %v, answered: %d of %d", inOrder, len(seen), n)
	}
}

func TestDatabaseOutlivesTheServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a name?with#marks%.db")
	for want := uint32(1); want <= 2; want++ {
		s, c := serve(t, func(o *Options) { o.Database = file })
		c.text(1, 1, 2, single, "kept")
		equal(t, "id", want, body[wire.IMMsgData](t, c.next()).GetMsgId())
		equal(t, "stored", int(want), len(texts(t, s)))
		s.Stop()
	}
}

func TestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- Run(ctx, Options{DBProxyAddress: ":0", RouterAddress: ":0", InboxAddress: ":0"})
	}()
	cancel()
	if err := <-ended; err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}

func TestAddressesBeyondLoopback(t *testing.T) {
	_, err := Start(t.Context(), Options{DBProxyAddress: "0.0.0.0:0", RouterAddress: ":0", InboxAddress: ":0"})
	if err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("got error %v, want one about loopback", err)
	}
	s := start(t, func(o *Options) { o.DBProxyAddress, o.AllowRemote = "0.0.0.0:0", true })
	s.Stop()
}
