// SPDX-License-Identifier: Apache-2.0

package faultproxy

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

const (
	sender, receiver = 1, 3
	patience         = 30 * time.Second
)

var (
	sends = []wire.Command{wire.CommandMsgData}
	text  = dbproxy.Message{
		From: sender, To: receiver, CreateTime: 1, Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT, Data: []byte("text"),
	}
)

// fixture is a teamtalk-dev behind a proxy, and a client.
type fixture struct {
	t        *testing.T
	teamtalk *devserver.Server
	proxy    *Proxy
	db       *dbproxy.Client
}

func newFixture(t *testing.T, o dbproxy.Options) *fixture {
	t.Helper()
	teamtalk, err := devserver.Start(t.Context(), devserver.Options{
		DBProxyAddress: "127.0.0.1:0", RouterAddress: "127.0.0.1:0", InboxAddress: "127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	proxy, err := Start(t.Context(), teamtalk.DBProxyAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	o.Address = proxy.Addr()
	o.Timing = link.Timing{BackoffMin: time.Millisecond, BackoffMax: 10 * time.Millisecond}
	s := &fixture{t: t, teamtalk: teamtalk, proxy: proxy, db: dbproxy.New(o)}
	peer.Start(t, s.db.Run)
	s.connected()
	return s
}

func (s *fixture) connected() {
	s.t.Helper()
	s.until("the client is connected", func() bool { return s.db.Connected() > 0 })
}

func (s *fixture) until(what string, done func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := poll(ctx, func() string { return what }, done); err != nil {
		s.t.Fatal(err)
	}
}

func (s *fixture) send() (uint32, error) {
	return s.db.Send(s.t.Context(), s.t.Context(), text)
}

func (s *fixture) mustSend() {
	s.t.Helper()
	if _, err := s.send(); err != nil {
		s.t.Fatal(err)
	}
}

// sendAsync sends in the background.
func (s *fixture) sendAsync() <-chan error {
	sent := make(chan error, 1)
	go func() {
		_, err := s.send()
		sent <- err
	}()
	return sent
}

func (s *fixture) rows() int {
	s.t.Helper()
	rows, err := s.teamtalk.Messages(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return len(rows)
}

// TestActions sends one message with each fault, and another one without.
func TestActions(t *testing.T) {
	tests := map[string]struct {
		rule     Rule
		wantID   uint32
		wantErr  error
		wantRows int
	}{
		"pass":                     {Rule{Do: Pass}, 1, nil, 1},
		"a request is lost":        {Rule{Do: Drop}, 0, dbproxy.ErrNoAnswer, 0},
		"an answer is lost":        {Rule{Direction: ToClient, Do: Drop}, 0, dbproxy.ErrNoAnswer, 1},
		"a request is cut":         {Rule{Do: Cut}, 0, dbproxy.ErrConnectionLost, 0},
		"an answer is cut":         {Rule{Direction: ToClient, Do: Cut}, 0, dbproxy.ErrConnectionLost, 1},
		"a request is repeated":    {Rule{Do: Repeat}, 1, nil, 2},
		"an answer is repeated":    {Rule{Direction: ToClient, Do: Repeat}, 1, nil, 1},
		"an answer is late":        {Rule{Direction: ToClient, Do: Delay(20 * time.Millisecond)}, 1, nil, 1},
		"a request is late":        {Rule{Do: Delay(20 * time.Millisecond)}, 1, nil, 1},
		"an answer waits for none": {Rule{Direction: ToClient, Do: Reorder(1, 20*time.Millisecond)}, 1, nil, 1},
		"id 0":                     {Rule{Do: RefuseWith(0)}, 0, nil, 0},
		"an id of nothing":         {Rule{Do: RefuseWith(77)}, 77, nil, 0},
		"id unknown, stored":       {Rule{Direction: ToClient, Do: AnswerID(wire.MsgIDUnknown)}, wire.MsgIDUnknown, nil, 1},
		"executed when it is late": {Rule{Do: ExecuteLate(20 * time.Millisecond)}, 0, dbproxy.ErrConnectionLost, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFixture(t, dbproxy.Options{Connections: 1, RequestTimeout: time.Second})
			tc.rule.Commands, tc.rule.Count = sends, 1
			rule := s.proxy.Add(tc.rule)
			id, err := s.send()
			if id > 1 && int(id) <= tc.wantRows {
				id = 1 // of two, db_proxy may execute either first
			}
			if id != tc.wantID || !errors.Is(err, tc.wantErr) {
				t.Errorf("sent: id %d, %v; want %d, %v", id, err, tc.wantID, tc.wantErr)
			}
			if err := s.proxy.Idle(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.until("what was passed on is stored", func() bool { return s.rows() >= tc.wantRows })
			s.connected()
			s.mustSend()
			if n := s.rows(); n != tc.wantRows+1 || rule.Fired() != 1 {
				t.Errorf("%d rows, fired %d times; want %d and 1", n, rule.Fired(), tc.wantRows+1)
			}
		})
	}
}

// reads is what each kind of read shows: all of them 1 without a fault.
func (s *fixture) reads(t *testing.T) (found []int) {
	t.Helper()
	session := dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: sender, ID: receiver}
	rows, err := s.db.List(t.Context(), session, 5)
	byID, err2 := s.db.ByID(t.Context(), session, []uint32{1})
	latest, err3 := s.db.LatestID(t.Context(), session)
	recent, err4 := s.db.RecentSessions(t.Context(), sender)
	users, err5 := s.db.Users(t.Context(), sender, []uint32{sender})
	groups, err6 := s.db.Groups(t.Context(), sender, []uint32{7}, nil)
	if err := errors.Join(err, err2, err3, err4, err5, err6); err != nil {
		t.Fatal(err)
	}
	return []int{len(rows), len(byID), int(latest), len(recent), len(users), len(groups)}
}

func TestReads(t *testing.T) {
	all := []int{1, 1, 1, 1, 1, 1}
	for name, tc := range map[string]struct {
		do   Action
		want []int
	}{
		"passed":                 {Pass, all},
		"empty":                  {Empty, make([]int, 6)},
		"stopped before the row": {Stale(time.Unix(0, 0)), []int{0, 0, 0, 0, 1, 1}},
		"stopped after it":       {Stale(time.Now().Add(time.Hour)), []int{1, 1, 0, 1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t, dbproxy.Options{})
			s.mustSend()
			rule := s.proxy.Add(Rule{Direction: ToClient, Do: tc.do})
			if got := s.reads(t); !slices.Equal(got, tc.want) {
				t.Errorf("reads show %d, want %d", got, tc.want)
			}
			rule.Remove()
			if got := s.reads(t); !slices.Equal(got, all) || rule.Fired() != len(all) {
				t.Errorf("the rule works on, %d, or has fired %d times", got, rule.Fired())
			}
		})
	}
}

// TestHold keeps requests until the release.
func TestHold(t *testing.T) {
	s := newFixture(t, dbproxy.Options{})
	hold := &Hold{}
	rule := s.proxy.Add(Rule{Commands: sends, Match: hold.Keeps, Do: hold.Do})
	first, second := s.sendAsync(), s.sendAsync()
	if err := rule.Await(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if n := s.rows(); n != 0 {
		t.Errorf("%d rows while the requests are held", n)
	}
	hold.Release()
	if err := errors.Join(<-first, <-second); err != nil || s.rows() != 2 {
		t.Errorf("%d rows, %v", s.rows(), err)
	}
	s.mustSend()
}

// TestHeldOutlivesItsClient passes on what a client had sent before it ended.
func TestHeldOutlivesItsClient(t *testing.T) {
	s := newFixture(t, dbproxy.Options{Connections: 1})
	hold := &Hold{}
	rule := s.proxy.Add(Rule{Commands: sends, Match: hold.Keeps, Do: hold.Do})
	client := dbproxy.New(dbproxy.Options{Address: s.proxy.Addr(), Connections: 1})
	stop := peer.Start(t, client.Run)
	s.until("the other client is connected", func() bool { return client.Connected() > 0 })
	go func() {
		_, _ = client.Send(t.Context(), t.Context(), text)
	}()
	if err := rule.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	stop()
	hold.Release()
	s.until("the message is stored", func() bool { return s.rows() == 1 })
}

// TestReorder passes a later answer on first.
func TestReorder(t *testing.T) {
	s := newFixture(t, dbproxy.Options{Connections: 1})
	s.proxy.Add(Rule{Direction: ToClient, Commands: sends, Count: 1, Do: Reorder(1, patience)})
	first := s.sendAsync()
	s.until("the first message is stored", func() bool { return s.rows() == 1 })
	if len(first) > 0 {
		t.Error("the first answer was not held")
	}
	s.mustSend()
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestGone(t *testing.T) {
	s := newFixture(t, dbproxy.Options{Connections: 1})
	s.proxy.SetGone(true)
	s.until("connections are refused", func() bool { return s.proxy.Refused() > 2 })
	// A refused connection is up for a moment.
	s.until("the client is not connected", func() bool { return s.db.Connected() == 0 })
	s.proxy.SetGone(false)
	s.connected()
	s.mustSend()
}

func TestRuleChooses(t *testing.T) {
	s := newFixture(t, dbproxy.Options{})
	var seen []uint32
	rule := s.proxy.Add(Rule{
		Commands: sends, Skip: 1, Every: 2, Count: 2, Do: Pass,
		Match:  func(f Frame) bool { return !f.Group() },
		OnFire: func(f Frame) { seen = append(seen, f.Message().GetToSessionId()) },
	})
	for range 9 {
		s.mustSend()
	}
	if rule.Fired() != 2 || len(seen) != 2 || seen[0] != receiver {
		t.Errorf("fired %d times, for %v", rule.Fired(), seen)
	}
}

func TestGroupFrames(t *testing.T) {
	group, single := wire.SessionType_SESSION_TYPE_GROUP.Enum(), wire.SessionType_SESSION_TYPE_SINGLE.Enum()
	list := func(kind *wire.SessionType) proto.Message {
		return &wire.IMGetMsgListReq{
			UserId: proto.Uint32(1), SessionType: kind, SessionId: proto.Uint32(7), MsgIdBegin: proto.Uint32(0), MsgCnt: proto.Uint32(1),
		}
	}
	for name, tc := range map[string]struct {
		command wire.Command
		body    proto.Message
		want    bool
	}{
		"a group's list": {wire.CommandMsgListReq, list(group), true},
		"a user's list":  {wire.CommandMsgListReq, list(single), false},
		"latest id of a group": {wire.CommandLatestMsgIDRsp, &wire.IMGetLatestMsgIdRsp{
			UserId: proto.Uint32(1), SessionType: group, SessionId: proto.Uint32(7), LatestMsgId: proto.Uint32(1),
		}, true},
		"group info": {wire.CommandGroupInfoReq, &wire.IMGroupInfoListReq{UserId: proto.Uint32(1)}, true},
		"user info":  {wire.CommandUsersInfoReq, &wire.IMUsersInfoReq{UserId: proto.Uint32(1)}, false},
	} {
		body, err := proto.Marshal(tc.body)
		if err != nil {
			t.Fatal(err)
		}
		if f := (Frame{PDU: pdu.PDU{Command: tc.command, Body: body}}); f.Group() != tc.want {
			t.Errorf("%s: %v", name, !tc.want)
		}
	}
}

// TestOnPass checks that forwarded frames are reported with their connection.
func TestOnPass(t *testing.T) {
	s := newFixture(t, dbproxy.Options{Connections: 1})
	type pass struct {
		over      *Conn
		direction Direction
	}
	passes := make(chan pass, 100)
	s.proxy.OnPass(func(c *Conn, f Frame) {
		if f.Message() != nil {
			passes <- pass{c, f.Direction}
		}
	})
	s.proxy.Add(Rule{Direction: ToClient, Commands: sends, Skip: 1, Do: Cut})
	s.mustSend()
	if _, err := s.send(); !errors.Is(err, dbproxy.ErrConnectionLost) {
		t.Fatal(err)
	}
	// The reports of the two directions may overtake each other.
	first := <-passes
	if first.direction != ToServer {
		t.Error("the first frame was not a request")
	}
	toClient := int(first.direction)
	for range 2 {
		p := <-passes
		if toClient += int(p.direction); p.over != first.over {
			t.Error("passed over another connection")
		}
	}
	if toClient != 1 || len(passes) > 0 || !first.over.Ended() {
		t.Errorf("%d of 3 frames to the client, %d more, ended: %v", toClient, len(passes), first.over.Ended())
	}
}
