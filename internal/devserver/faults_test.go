// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	single    = wire.MsgType_MSG_TYPE_SINGLE_TEXT
	groupText = wire.MsgType_MSG_TYPE_GROUP_TEXT
	oneToOne  = wire.SessionType_SESSION_TYPE_SINGLE
	inGroup   = wire.SessionType_SESSION_TYPE_GROUP
)

// texts returns the stored texts.
func texts(t testing.TB, s *Server) []string {
	t.Helper()
	messages := stored(t, s)
	var all []string
	for _, m := range messages {
		all = append(all, m.Text)
	}
	return all
}

// seqs returns the seqs of answers.
func seqs(pdus []pdu.PDU) []uint16 {
	var all []uint16
	for _, p := range pdus {
		all = append(all, p.Seq)
	}
	return all
}

func add(t testing.TB, s *Server, f Fault) int {
	t.Helper()
	id, err := s.Faults().Add(f)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func equal(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func listRequest(user, id, count uint32, kind wire.SessionType) *wire.IMGetMsgListReq {
	return &wire.IMGetMsgListReq{
		UserId: proto.Uint32(user), SessionType: kind.Enum(), SessionId: proto.Uint32(id),
		MsgIdBegin: proto.Uint32(0), MsgCnt: proto.Uint32(count),
	}
}

// TestMessageFaults sends two messages under a fault that fires once.
func TestMessageFaults(t *testing.T) {
	tests := map[string]struct {
		fault      Fault
		wantSeqs   []uint16
		wantIDs    []uint32
		wantStored []string
	}{
		"none":         {Fault{Kind: Drop, To: 9}, []uint16{1, 2}, []uint32{1, 2}, []string{"first", "second"}},
		"no answer":    {Fault{Kind: NoAnswer}, []uint16{2}, []uint32{2}, []string{"first", "second"}},
		"drop":         {Fault{Kind: Drop}, []uint16{2}, []uint32{1}, []string{"second"}},
		"skipped drop": {Fault{Kind: Drop, Skip: 1}, []uint16{1}, []uint32{1}, []string{"first"}},
		"late":         {Fault{Kind: Late, Delay: time.Hour}, []uint16{2}, []uint32{2}, []string{"first", "second"}},
		"reorder":      {Fault{Kind: Reorder, Delay: time.Hour}, []uint16{2, 1}, []uint32{2, 1}, []string{"first", "second"}},
		"repeat":       {Fault{Kind: Repeat}, []uint16{1, 1, 2}, []uint32{1, 1, 2}, []string{"first", "second"}},
		"id zero":      {Fault{Kind: IDZero}, []uint16{1, 2}, []uint32{0, 1}, []string{"second"}},
		"id unknown": {
			Fault{Kind: IDUnknown}, []uint16{1, 2}, []uint32{wire.MsgIDUnknown, 2}, []string{"second"},
		},
		"id unknown, stored": {
			Fault{Kind: IDUnknown, Store: true}, []uint16{1, 2}, []uint32{wire.MsgIDUnknown, 2}, []string{"first", "second"},
		},
		"false success": {Fault{Kind: FalseSuccess}, []uint16{1, 2}, []uint32{1, 2}, []string{"second"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil)
			test.fault.Command, test.fault.Count = wire.CommandMsgData, 1
			id := add(t, s, test.fault)
			c := dial(t, s.DBProxyAddr())
			c.text(1, 1, 2, single, "first")
			c.text(2, 1, 2, single, "second")
			answers := c.settle()
			var ids []uint32
			for _, p := range answers {
				ids = append(ids, body[wire.IMMsgData](t, p).GetMsgId())
			}
			equal(t, "answered", test.wantSeqs, seqs(answers))
			equal(t, "ids", test.wantIDs, ids)
			equal(t, "stored", test.wantStored, texts(t, s))
			wantFired := 1
			if test.fault.To != 0 {
				wantFired = 0
			}
			equal(t, "fired", wantFired, s.Faults().FiredByID(id))
			equal(t, "fired by kind", wantFired, s.Faults().Fired(test.fault.Kind))
		})
	}
}

func TestDelayedAnswerArrives(t *testing.T) {
	for _, fault := range []Fault{{Kind: Late}, {Kind: Reorder, After: 5}} {
		t.Run(string(fault.Kind), func(t *testing.T) {
			s, c := serve(t, nil)
			fault.Command, fault.Delay = wire.CommandMsgData, 10*time.Millisecond
			add(t, s, fault)
			c.text(1, 1, 2, single, "delayed")
			equal(t, "seq", uint16(1), c.next().Seq)
		})
	}
}

func TestCrashes(t *testing.T) {
	tests := map[string]struct {
		kind       FaultKind
		wantStored []string
	}{
		"before store": {CloseBeforeStore, []string{"again"}},
		"after store":  {CloseAfterStore, []string{"first", "again"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil)
			add(t, s, Fault{Kind: test.kind, Command: wire.CommandMsgData, Count: 1})
			c, bystander := dial(t, s.DBProxyAddr()), dial(t, s.DBProxyAddr())
			bystander.settle()
			c.text(1, 1, 2, single, "first")
			if !c.ended() || !bystander.ended() {
				t.Error("a connection outlived the crash")
			}
			c = dial(t, s.DBProxyAddr())
			c.text(2, 1, 2, single, "again")
			equal(t, "id after the one that was drawn", uint32(2), body[wire.IMMsgData](t, c.next()).GetMsgId())
			equal(t, "stored", test.wantStored, texts(t, s))
			equal(t, "fired", 1, s.Faults().Fired(test.kind))
		})
	}
}

func TestCrashOfAGroupsCreation(t *testing.T) {
	for kind, want := range map[FaultKind]int{CloseBeforeStore: 2, CloseAfterStore: 3} {
		t.Run(string(kind), func(t *testing.T) {
			s := start(t, nil)
			add(t, s, Fault{Kind: kind, Command: wire.CommandGroupCreateReq})
			c := dial(t, s.DBProxyAddr())
			c.send(wire.CommandGroupCreateReq, 1, &wire.IMGroupCreateReq{
				UserId: proto.Uint32(0), GroupType: wire.GroupType_GROUP_TYPE_NORMAL.Enum(),
				GroupName: proto.String("new"), GroupAvatar: proto.String(""),
			})
			if !c.ended() {
				t.Error("the connection outlived the crash")
			}
			groups, err := s.store.Groups(nil)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "groups", want, len(groups))
		})
	}
}

func TestEmptyList(t *testing.T) {
	s, c := serve(t, nil)
	c.text(1, 1, 2, single, "here")
	c.text(2, 1, 7, groupText, "here")
	c.settle()
	reads := func() []int {
		c.send(wire.CommandUsersInfoReq, 1, &wire.IMUsersInfoReq{UserId: proto.Uint32(1), UserIdList: []uint32{1, 2}})
		users := body[wire.IMUsersInfoRsp](t, c.next()).GetUserInfoList()
		return []int{c.list(2, oneToOne), c.list(7, inGroup), len(users), len(c.groups(7))}
	}
	equal(t, "found before", []int{1, 1, 2, 1}, reads())
	add(t, s, Fault{Kind: EmptyList})
	equal(t, "found under the fault", []int{0, 0, 0, 0}, reads())
	equal(t, "fired", 4, s.Faults().Fired(EmptyList))
	s.Faults().Clear()
	equal(t, "found after", []int{1, 1, 2, 1}, reads())
	equal(t, "fired, still", 4, s.Faults().Fired(EmptyList))
}

// list returns how many messages user 1 finds in a session.
func (c *client) list(id uint32, kind wire.SessionType) int {
	c.t.Helper()
	c.send(wire.CommandMsgListReq, 1, listRequest(1, id, 10, kind))
	return len(body[wire.IMGetMsgListRsp](c.t, c.next()).GetMsgList())
}

func (c *client) groups(id uint32) []*wire.GroupInfo {
	c.t.Helper()
	version := &wire.GroupVersionInfo{GroupId: proto.Uint32(id), Version: proto.Uint32(0)}
	c.send(wire.CommandGroupInfoReq, 1, &wire.IMGroupInfoListReq{
		UserId: proto.Uint32(1), GroupVersionList: []*wire.GroupVersionInfo{version},
	})
	return body[wire.IMGroupInfoListRsp](c.t, c.next()).GetGroupInfoList()
}

func TestLag(t *testing.T) {
	var passed atomic.Int64
	began := time.Now()
	s := start(t, func(o *Options) {
		o.Now = func() time.Time { return began.Add(time.Duration(passed.Load())) }
	})
	add(t, s, Fault{Kind: Lag, Delay: 3 * time.Second})
	c := dial(t, s.DBProxyAddr())
	list := func() int { return c.list(2, oneToOne) }
	equal(t, "seen of nothing", 0, list())
	equal(t, "fired where nothing is hidden", 0, s.Faults().Fired(Lag))
	c.text(1, 1, 2, single, "young")
	c.settle()
	equal(t, "seen at once", 0, list())
	equal(t, "fired", 1, s.Faults().Fired(Lag))
	passed.Store(int64(4 * time.Second))
	equal(t, "seen later", 1, list())
	equal(t, "fired, still", 1, s.Faults().Fired(Lag))
}

func TestRedisFlushed(t *testing.T) {
	s, c := serve(t, nil)
	c.text(1, 1, 7, groupText, "before")
	c.settle()
	add(t, s, Fault{Kind: RedisFlushed})
	look := func() [2]int { return [2]int{c.list(7, inGroup), len(c.groups(7)[0].GetGroupMemberList())} }
	equal(t, "messages and members when flushed", [2]int{0, 0}, look())
	equal(t, "fired", 2, s.Faults().Fired(RedisFlushed))
	c.text(1, 1, 7, groupText, "fills it")
	c.settle()
	equal(t, "messages and members when filled", [2]int{2, 3}, look())
	equal(t, "fired, still", 2, s.Faults().Fired(RedisFlushed))
}

func TestGroupDeadlock(t *testing.T) {
	for name, atOnce := range map[string]int{"within the pool": 16, "beyond the pool": 17} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(o *Options) { o.HeartbeatInterval = 100 * time.Millisecond })
			add(t, s, Fault{Kind: GroupDeadlock, Delay: time.Second})
			c := dial(t, s.DBProxyAddr())
			var burst []byte
			for i := range atOnce {
				p, err := pdu.New(wire.CommandMsgData, 1, textMessage(t, 1, 7, groupText, fmt.Sprint(i)))
				if err != nil {
					t.Fatal(err)
				}
				burst = p.Append(burst)
			}
			c.write(burst)
			if atOnce <= 16 {
				for answers := 0; answers < atOnce; {
					if c.next().Command == wire.CommandMsgData {
						answers++
					}
				}
				equal(t, "fired", 0, s.Faults().Fired(GroupDeadlock))
				return
			}
			// Nothing is answered any more, single chats included. Only heartbeats arrive, for longer than the
			// requests would have taken.
			c.text(2, 1, 2, single, "hangs too")
			for range 12 {
				equal(t, "PDU", wire.CommandHeartBeat, c.next().Command)
			}
			equal(t, "stored", []string(nil), texts(t, s))
			equal(t, "fired", 1, s.Faults().Fired(GroupDeadlock))
			s.Faults().Clear()
			dial(t, s.DBProxyAddr()).settle()
		})
	}
}
