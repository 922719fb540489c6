// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/recorded"
)

// recordedServer is in the state of the real servers before the recording, so that it assigns the same ids.
func recordedServer(t *testing.T) *Server {
	t.Helper()
	s := start(t, func(o *Options) {
		for id := uint32(1); id <= 200; id++ {
			u := NewUser(id, fmt.Sprintf("nick%d", id), fmt.Sprintf("user%d", id))
			u.Email, u.Tel = fmt.Sprintf("u%d@x", id), "1"
			o.Seed.Users = append(o.Seed.Users, u)
		}
		o.Seed.Groups = []Group{
			{ID: 1, Name: "ops", Version: 3, Members: []uint32{1, 2, 3, 4, 10}},
			{ID: 2, Name: "earlier", Members: []uint32{1}},
		}
	})
	c := dial(t, s.DBProxyAddr())
	for _, earlier := range earlierTexts(t) {
		c.send(wire.CommandMsgData, 1, &wire.IMMsgData{
			FromUserId: earlier.FromSessionId, ToSessionId: proto.Uint32(150), MsgId: proto.Uint32(1),
			CreateTime: earlier.CreateTime, MsgType: earlier.MsgType, MsgData: earlier.MsgData,
		})
		c.text(1, 1, 1, wire.MsgType_MSG_TYPE_GROUP_TEXT, "earlier")
	}
	c.settle()
	return s
}

// earlierTexts are the texts between users 1 and 150 from before the recording, oldest first.
func earlierTexts(t *testing.T) []*wire.MsgInfo {
	t.Helper()
	answer := recorded.Named(t, "msg_list").Response
	texts := body[wire.IMGetMsgListRsp](t, pdu.PDU{Body: answer[pdu.HeaderLen:]}).GetMsgList()
	slices.Reverse(texts)
	return texts
}

// replay sends every request in order and returns the differences from the recorded bytes.
func replay(t *testing.T, s *Server, frames []recorded.Frame) []string {
	t.Helper()
	db, sender, peer := dial(t, s.DBProxyAddr()), dialRouter(t, s.RouterAddr()), dialRouter(t, s.RouterAddr())
	peer.settle()
	var differences []string
	compare := func(name, what string, got []pdu.PDU, want recorded.PDU) {
		if b := joined(got); !bytes.Equal(b, want) {
			differences = append(differences, fmt.Sprintf("%s: %s\n got %.300x\nwant %.300x", name, what, b, want))
		}
	}
	for _, f := range frames {
		toRouter := slices.Contains([]string{"route_message", "read_notify", "users_status"}, f.Name)
		c := db
		if toRouter {
			c = sender
		}
		c.write(f.Request)
		compare(f.Name, "answer", c.settle(), f.Response)
		if toRouter {
			compare(f.Name, "received by another peer", peer.settle(), f.PeerReceives)
		}
	}
	return differences
}

func joined(pdus []pdu.PDU) (b []byte) {
	for _, p := range pdus {
		b = p.Append(b)
	}
	return b
}

func TestRecordedFrames(t *testing.T) {
	for _, difference := range replay(t, recordedServer(t), recorded.Frames(t)) {
		t.Error(difference)
	}
}

// TestReplayNotices shows that replay finds differences.
func TestReplayNotices(t *testing.T) {
	tests := map[string]struct {
		frame  string
		change func(*recorded.Frame)
	}{
		"another byte":           {"msg_list", func(f *recorded.Frame) { f.Response[30] = 0 }},
		"an answer for silence":  {"send_bad_type", func(f *recorded.Frame) { f.Response = f.Request }},
		"silence for an answer":  {"send_single", func(f *recorded.Frame) { f.Response = nil }},
		"a relay that is absent": {"users_status", func(f *recorded.Frame) { f.PeerReceives = f.Request }},
		"a relay too many":       {"read_notify", func(f *recorded.Frame) { f.PeerReceives = nil }},
		"an acknowledgement":     {"route_message", func(f *recorded.Frame) { f.Response = f.Request }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			frames := recorded.Frames(t)
			tc.change(&frames[slices.IndexFunc(frames, func(f recorded.Frame) bool { return f.Name == tc.frame })])
			if differences := replay(t, recordedServer(t), frames); len(differences) != 1 {
				t.Errorf("got %d differences, want 1: %q", len(differences), differences)
			}
		})
	}
}
