// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// sessions are user 1's recent sessions, as "user 2: 3" for one whose newest message has id 3.
func (c *client) sessions() []string {
	c.t.Helper()
	c.send(wire.CommandRecentSessionsReq, 1, &wire.IMRecentContactSessionReq{
		UserId: proto.Uint32(1), LatestUpdateTime: proto.Uint32(0),
	})
	var all []string
	for _, r := range body[wire.IMRecentContactSessionRsp](c.t, c.next()).GetContactSessionList() {
		kind := "user"
		if r.GetSessionType() == inGroup {
			kind = "group"
		}
		all = append(all, fmt.Sprintf("%s %d: %d", kind, r.GetSessionId(), r.GetLatestMsgId()))
	}
	return all
}

// seen is what user 1 reads of a session: rows in the list, rows by id, and the latest id.
func (c *client) seen(id uint32, kind wire.SessionType) [3]int {
	c.t.Helper()
	rows := c.list(id, kind)
	c.send(wire.CommandMsgByIDReq, 1, &wire.IMGetMsgByIdReq{
		UserId: proto.Uint32(1), SessionType: kind.Enum(), SessionId: proto.Uint32(id), MsgIdList: []uint32{1, 2, 3},
	})
	byID := body[wire.IMGetMsgByIdRsp](c.t, c.next()).GetMsgList()
	c.send(wire.CommandLatestMsgIDReq, 1, &wire.IMGetLatestMsgIdReq{
		UserId: proto.Uint32(1), SessionType: kind.Enum(), SessionId: proto.Uint32(id),
	})
	return [3]int{rows, len(byID), int(body[wire.IMGetLatestMsgIdRsp](c.t, c.next()).GetLatestMsgId())}
}

// unreadOf are the sessions in which a user has something unread.
func (c *client) unreadOf(user uint32) (all []uint32) {
	c.t.Helper()
	c.send(wire.CommandUnreadCntReq, 1, &wire.IMUnreadMsgCntReq{UserId: proto.Uint32(user)})
	for _, u := range body[wire.IMUnreadMsgCntRsp](c.t, c.next()).GetUnreadinfoList() {
		all = append(all, u.GetSessionId())
	}
	return all
}

// clocked runs a server with a clock of its own, which the returned function moves on.
func clocked(t *testing.T) (*Server, *client, func(time.Duration)) {
	var passed atomic.Int64
	began := time.Now()
	s, c := serve(t, func(o *Options) {
		o.Now = func() time.Time { return began.Add(time.Duration(passed.Load())) }
	})
	return s, c, func(d time.Duration) { passed.Add(int64(d)) }
}

func TestTableUnreadable(t *testing.T) {
	tests := map[string]struct {
		table               string
		wantUser, wantGroup [3]int
		wantSessions        []string // the last updated first
		wantUnread          []uint32 // of user 2
	}{
		"of another user":      {"IMMessage_2", [3]int{2, 2, 2}, [3]int{2, 2, 2}, []string{"group 7: 2", "user 2: 2", "user 3: 0"}, []uint32{1, 7}},
		"by number":            {"IMMessage_1", [3]int{0, 0, 0}, [3]int{2, 2, 2}, []string{"group 7: 2", "user 2: 0", "user 3: 1"}, []uint32{7}},
		"by its users":         {"user:2:1", [3]int{0, 0, 0}, [3]int{2, 2, 2}, []string{"group 7: 2", "user 2: 0", "user 3: 1"}, []uint32{7}},
		"of a group":           {"IMGroupMessage_7", [3]int{2, 2, 2}, [3]int{0, 0, 0}, []string{"user 2: 2", "user 3: 1"}, []uint32{1}},
		"of a group, by it":    {"group:7", [3]int{2, 2, 2}, [3]int{0, 0, 0}, []string{"user 2: 2", "user 3: 1"}, []uint32{1}},
		"by another group":     {"group:15", [3]int{2, 2, 2}, [3]int{0, 0, 0}, []string{"user 2: 2", "user 3: 1"}, []uint32{1}},
		"of users without one": {"user:5:6", [3]int{2, 2, 2}, [3]int{2, 2, 2}, []string{"group 7: 2", "user 2: 2", "user 3: 1"}, []uint32{1, 7}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, c, pass := clocked(t)
			c.text(1, 1, 2, single, "first") // its table is that of the first relation
			c.text(2, 1, 3, single, "second")
			c.settle()
			pass(time.Second)
			c.text(3, 1, 2, single, "third")
			c.settle()
			pass(time.Second)
			c.text(4, 1, 7, groupText, "to the group")
			add(t, s, Fault{Kind: TableUnreadable, Table: test.table})
			c.text(5, 1, 7, groupText, "stored under the fault")
			c.settle()
			equal(t, "seen with user 2: listed, by id, latest", test.wantUser, c.seen(2, oneToOne))
			equal(t, "seen in the group", test.wantGroup, c.seen(7, inGroup))
			equal(t, "sessions", test.wantSessions, c.sessions())
			equal(t, "unread", test.wantUnread, c.unreadOf(2))
			equal(t, "stored", 5, len(texts(t, s)))
			s.Faults().Clear()
			equal(t, "seen after", [][3]int{{2, 2, 2}, {2, 2, 2}}, [][3]int{c.seen(2, oneToOne), c.seen(7, inGroup)})
		})
	}
}

// TestTwoTablesUnreadable: each fault hides a table.
func TestTwoTablesUnreadable(t *testing.T) {
	s, c := serve(t, nil)
	c.text(1, 1, 2, single, "first")
	c.text(2, 1, 7, groupText, "second")
	c.settle()
	add(t, s, Fault{Kind: TableUnreadable, Table: "user:1:2"})
	add(t, s, Fault{Kind: TableUnreadable, Table: "group:7"})
	equal(t, "sessions", []string(nil), c.sessions())
	equal(t, "fired", 2, s.Faults().Fired(TableUnreadable))
}

func TestTable(t *testing.T) {
	s, c := serve(t, nil)
	for to := uint32(2); to <= 10; to++ {
		c.text(1, to, 1, single, "first")
	}
	c.settle()
	for session, want := range map[string]string{
		"user:1:2": "IMMessage_1", "user:1:9": "IMMessage_0", "user:10:1": "IMMessage_1", "user:5:6": "",
		"group:7": "IMGroupMessage_7", "group:8": "IMGroupMessage_0",
	} {
		got, err := s.Table(session)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, session, want, got)
	}
	if _, err := s.Table("tea"); err == nil {
		t.Error("a table of nothing")
	}
}

func TestReplicaStopped(t *testing.T) {
	s, c := serve(t, nil)
	c.text(1, 1, 2, single, "before")
	c.settle()
	first := add(t, s, Fault{Kind: ReplicaStopped})
	equal(t, "fired where nothing is hidden", 0, s.Faults().Fired(ReplicaStopped))
	c.text(2, 1, 2, single, "since")
	c.text(3, 1, 3, single, "since, to another")
	c.settle()
	equal(t, "seen of an old session", [3]int{1, 1, 1}, c.seen(2, oneToOne))
	equal(t, "seen of a new session", [3]int{0, 0, 0}, c.seen(3, oneToOne))
	equal(t, "sessions", []string{"user 2: 1"}, c.sessions())
	add(t, s, Fault{Kind: ReplicaStopped})
	equal(t, "seen when one more stopped later", [3]int{1, 1, 1}, c.seen(2, oneToOne))
	s.Faults().Remove(first)
	c.text(4, 1, 2, single, "since the other one stopped")
	c.settle()
	equal(t, "seen when only that is stopped", [3]int{2, 2, 2}, c.seen(2, oneToOne))
	s.Faults().Clear()
	equal(t, "seen after", [3]int{3, 3, 3}, c.seen(2, oneToOne))
}

func TestSlowAudio(t *testing.T) {
	s, c := serve(t, nil)
	const delay = 60 * time.Millisecond
	add(t, s, Fault{Kind: SlowAudio, Delay: delay})
	took := func() time.Duration {
		began := time.Now()
		c.list(2, oneToOne)
		return time.Since(began)
	}
	c.text(1, 1, 2, single, "no sound")
	c.settle()
	took()
	equal(t, "fired without a sound", 0, s.Faults().Fired(SlowAudio))
	for seq := range uint16(3) {
		m := textMessage(t, 1, 2, wire.MsgType_MSG_TYPE_SINGLE_AUDIO, "")
		m.MsgData = []byte{0, 0, 0, 1, 'a', 'b', 'c', 'd', 'e'}
		c.send(wire.CommandMsgData, seq, m)
	}
	c.settle()
	if d := took(); d < 3*delay {
		t.Errorf("a list of three sounds took %v", d)
	}
	equal(t, "fired", 1, s.Faults().Fired(SlowAudio))
}

// TestEvery drops one request in 48, as a db_proxy does one of whose threads hangs.
func TestEvery(t *testing.T) {
	s, c := serve(t, nil)
	add(t, s, Fault{Kind: Drop, Every: 48, Command: wire.CommandMsgData})
	for seq := uint16(1); seq <= 100; seq++ {
		c.text(seq, 1, 2, single, "one of many")
	}
	answered := seqs(c.settle())
	equal(t, "answered", 98, len(answered))
	equal(t, "dropped ones answered", false, slices.Contains(answered, 48) || slices.Contains(answered, 96))
}

func TestAge(t *testing.T) {
	s, c := serve(t, nil)
	c.text(1, 1, 2, single, "here")
	c.settle()
	before := stored(t, s)[0]
	if err := s.Age(48 * time.Hour); err != nil {
		t.Fatal(err)
	}
	after := stored(t, s)[0]
	equal(t, "days older, as sent", uint32(2*24*3600), before.CreateTime-after.CreateTime)
	equal(t, "older, as stored", 48*time.Hour, before.StoredAt.Sub(after.StoredAt))
}

// TestRecentSessions shows what a stock server lists, and in which order.
func TestRecentSessions(t *testing.T) {
	s, c, pass := clocked(t)
	equal(t, "of nothing", []string(nil), c.sessions())
	c.text(1, 2, 7, groupText, "of another member")
	c.text(2, 3, 1, single, "to user 1")
	c.settle()
	equal(t, "without a group that it wrote nothing to", []string{"user 3: 1"}, c.sessions())
	pass(time.Second)
	c.text(3, 1, 7, groupText, "by user 1")
	c.settle()
	equal(t, "the last updated first", []string{"group 7: 2", "user 3: 1"}, c.sessions())
	pass(time.Second)
	sound := textMessage(t, 1, 3, wire.MsgType_MSG_TYPE_SINGLE_AUDIO, "")
	sound.MsgData = []byte{0, 0, 0, 1, 'a', 'b', 'c', 'd', 'e'}
	c.send(wire.CommandMsgData, 4, sound)
	c.settle()
	ask := func(after uint32) []*wire.ContactSessionInfo {
		c.send(wire.CommandRecentSessionsReq, 1, &wire.IMRecentContactSessionReq{
			UserId: proto.Uint32(1), LatestUpdateTime: proto.Uint32(after),
		})
		return body[wire.IMRecentContactSessionRsp](t, c.next()).GetContactSessionList()
	}
	all := ask(0)
	if len(all) != 2 || all[0].GetLatestMsgFromUserId() != 3 || all[1].GetLatestMsgFromUserId() != 1 {
		t.Errorf("sessions %v: want the peer of a single chat as its sender, even of what the user wrote", all)
	}
	equal(t, "a sound is a text there", 24, len(all[0].GetLatestMsgData()))
	equal(t, "updated later", 1, len(ask(all[1].GetUpdatedTime())))
	for to := range uint32(110) {
		c.text(5, 1, 1000+to, single, "to many")
	}
	c.settle()
	equal(t, "at most", 100, len(ask(0)))
	add(t, s, Fault{Kind: EmptyList})
	equal(t, "when reads are empty", []string(nil), c.sessions())
}
