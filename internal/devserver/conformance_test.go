// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// recorded is one exchange with real servers.
type recorded struct {
	Name         string  `json:"name"`
	Request      string  `json:"request"`
	Response     *string `json:"response"`
	PeerReceives *string `json:"peer_receives"`
}

func recordedFrames(t *testing.T) []recorded {
	t.Helper()
	b, err := os.ReadFile("testdata/frames.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Frames []recorded `json:"frames"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Frames) < 30 {
		t.Fatalf("testdata/frames.json has %d frames, want 30 or more", len(file.Frames))
	}
	return file.Frames
}

// recordedServer is in the state in which the real servers were when they were
// recorded: even the ids that it draws are theirs.
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
		c.send(wire.CommandMsgData, 1, textMessage(t, 1, 1, wire.MsgType_MSG_TYPE_GROUP_TEXT, "earlier"))
	}
	c.settle()
	return s
}

// earlierTexts are those of 1 and 150 from before the recording, oldest first:
// nothing but an answer shows them.
func earlierTexts(t *testing.T) []*wire.MsgInfo {
	t.Helper()
	for _, f := range recordedFrames(t) {
		if f.Name != "msg_list" {
			continue
		}
		b, err := hex.DecodeString(*f.Response)
		if err != nil {
			t.Fatal(err)
		}
		texts := body[wire.IMGetMsgListRsp](t, pdu.PDU{Body: b[pdu.HeaderLen:]}).GetMsgList()
		slices.Reverse(texts)
		return texts
	}
	t.Fatal("testdata/frames.json has no msg_list")
	return nil
}

// replay sends every request in order and returns where what came back differs
// from what was recorded, byte for byte.
func replay(t *testing.T, s *Server, frames []recorded) []string {
	t.Helper()
	db, sender, peer := dial(t, s.DBProxyAddr()), dialRouter(t, s.RouterAddr()), dialRouter(t, s.RouterAddr())
	peer.settle()
	var differences []string
	differ := func(f recorded, what, got string, want *string) {
		expected := ""
		if want != nil {
			expected = *want
		}
		if got != expected {
			differences = append(differences, fmt.Sprintf("%s: %s\n got %s\nwant %s", f.Name, what, shorten(got), shorten(expected)))
		}
	}
	for _, f := range frames {
		request, err := hex.DecodeString(f.Request)
		if err != nil {
			t.Fatal(err)
		}
		c := db
		if toRouter(f) {
			c = sender
		}
		c.write(request)
		differ(f, "answer", joined(c.settle()), f.Response)
		if toRouter(f) {
			differ(f, "what another peer received", joined(peer.settle()), f.PeerReceives)
		}
	}
	return differences
}

// toRouter tells the frames that were exchanged with the router.
func toRouter(f recorded) bool {
	return slices.Contains([]string{"route_message", "read_notify", "users_status"}, f.Name)
}

func joined(pdus []pdu.PDU) string {
	var b []byte
	for _, p := range pdus {
		b = p.Append(b)
	}
	return hex.EncodeToString(b)
}

func shorten(s string) string {
	if len(s) == 0 {
		return "nothing"
	}
	return s[:min(len(s), 600)]
}

func TestRecordedFrames(t *testing.T) {
	for _, difference := range replay(t, recordedServer(t), recordedFrames(t)) {
		t.Error(difference)
	}
}

// TestReplayNotices shows that a difference does not pass.
func TestReplayNotices(t *testing.T) {
	wrong := func(name string, change func(*recorded)) func([]recorded) {
		return func(frames []recorded) {
			i := slices.IndexFunc(frames, func(f recorded) bool { return f.Name == name })
			change(&frames[i])
		}
	}
	silence := func(f *recorded) { f.Response = nil }
	anything := func(f *recorded) { f.Response = &f.Request }
	tests := map[string]func([]recorded){
		"another byte":           wrong("msg_list", func(f *recorded) { b := (*f.Response)[:60] + "00" + (*f.Response)[62:]; f.Response = &b }),
		"an answer for silence":  wrong("send_bad_type", anything),
		"silence for an answer":  wrong("send_single", silence),
		"a relay that is absent": wrong("users_status", func(f *recorded) { f.PeerReceives = &f.Request }),
		"a relay too many":       wrong("read_notify", func(f *recorded) { f.PeerReceives = nil }),
		"an acknowledgement":     wrong("route_message", anything),
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			frames := recordedFrames(t)
			change(frames)
			if differences := replay(t, recordedServer(t), frames); len(differences) != 1 {
				t.Errorf("got %d differences, want 1: %q", len(differences), differences)
			}
		})
	}
}
