// SPDX-License-Identifier: Apache-2.0

package faultproxy

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	sender, receiver = 1, 3
	patience         = 30 * time.Second
)

var sends = []wire.Command{wire.CommandMsgData}

// stand is a teamtalk-dev behind a proxy, and a client before it.
type stand struct {
	t        *testing.T
	teamtalk *devserver.Server
	proxy    *Proxy
	db       *dbproxy.Client
}

func newStand(t *testing.T, o dbproxy.Options) *stand {
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
	s := &stand{t: t, teamtalk: teamtalk, proxy: proxy, db: dbproxy.New(o)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.db.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	s.connected()
	return s
}

func (s *stand) connected() {
	s.t.Helper()
	s.until("the client is connected", func() bool { return s.db.Connected() > 0 })
}

func (s *stand) until(what string, done func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := poll(ctx, func() string { return what }, done); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) send() (uint32, error) {
	return s.db.Send(s.t.Context(), s.t.Context(), dbproxy.Message{
		From: sender, To: receiver, CreateTime: 1, Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT, Data: []byte("text"),
	})
}

func (s *stand) rows() int {
	s.t.Helper()
	rows, err := s.teamtalk.Messages(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return len(rows)
}

// TestActions sends one message through each fault, and another without: what the
// client learns, what is stored, and that the fault has fired once.
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
		"an answer waits in vain":  {Rule{Direction: ToClient, Do: Reorder(1, 20*time.Millisecond)}, 1, nil, 1},
		"id 0":                     {Rule{Do: RefuseWith(0)}, 0, nil, 0},
		"an id of nothing":         {Rule{Do: RefuseWith(77)}, 77, nil, 0},
		"id unknown, stored":       {Rule{Direction: ToClient, Do: AnswerID(wire.MsgIDUnknown)}, wire.MsgIDUnknown, nil, 1},
		"executed when it is late": {Rule{Do: ExecuteLate(20 * time.Millisecond)}, 0, dbproxy.ErrConnectionLost, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, dbproxy.Options{Connections: 1, RequestTimeout: time.Second})
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
			s.until("what was handed on is stored", func() bool { return s.rows() >= tc.wantRows })
			s.connected()
			if _, err := s.send(); err != nil {
				t.Errorf("the next message: %v", err)
			}
			if n := s.rows(); n != tc.wantRows+1 || rule.Fired() != 1 {
				t.Errorf("%d rows, fired %d times; want %d and 1", n, rule.Fired(), tc.wantRows+1)
			}
		})
	}
}

func TestEmpty(t *testing.T) {
	s := newStand(t, dbproxy.Options{})
	if _, err := s.send(); err != nil {
		t.Fatal(err)
	}
	session := dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: sender, ID: receiver}
	read := func() (found []int) {
		rows, err := s.db.List(t.Context(), session, 5)
		byID, err2 := s.db.ByID(t.Context(), session, []uint32{1})
		latest, err3 := s.db.LatestID(t.Context(), session)
		users, err4 := s.db.Users(t.Context(), sender, []uint32{sender})
		groups, err5 := s.db.Groups(t.Context(), sender, []uint32{7})
		if err := errors.Join(err, err2, err3, err4, err5); err != nil {
			t.Fatal(err)
		}
		return []int{len(rows), len(byID), int(latest), len(users), len(groups)}
	}
	for _, n := range read() {
		if n != 1 {
			t.Fatal("reads without a fault do not show everything")
		}
	}
	rule := s.proxy.Add(Rule{Direction: ToClient, Do: Empty})
	for i, n := range read() {
		if n != 0 {
			t.Errorf("read %d shows %d", i, n)
		}
	}
	rule.Remove()
	if read()[0] != 1 || rule.Fired() != 5 {
		t.Errorf("the rule works on, or has fired %d times, not 5", rule.Fired())
	}
}

// TestHold holds requests until they are let go.
func TestHold(t *testing.T) {
	s := newStand(t, dbproxy.Options{})
	hold := &Hold{}
	rule := s.proxy.Add(Rule{Commands: sends, Match: hold.Keeps, Do: hold.Do})
	sent := make(chan error, 2)
	for range cap(sent) {
		go func() {
			_, err := s.send()
			sent <- err
		}()
	}
	if err := rule.Await(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if n := s.rows(); n != 0 {
		t.Errorf("%d rows while the requests are held", n)
	}
	hold.Release()
	if err := errors.Join(<-sent, <-sent); err != nil || s.rows() != 2 {
		t.Errorf("%d rows, %v", s.rows(), err)
	}
	if _, err := s.send(); err != nil {
		t.Errorf("after the release: %v", err)
	}
}

// TestHeldOutlivesItsClient hands on what a client had sent before it ended.
func TestHeldOutlivesItsClient(t *testing.T) {
	s := newStand(t, dbproxy.Options{Connections: 1})
	hold := &Hold{}
	rule := s.proxy.Add(Rule{Commands: sends, Match: hold.Keeps, Do: hold.Do})
	ctx, cancel := context.WithCancel(t.Context())
	client := dbproxy.New(dbproxy.Options{Address: s.proxy.Addr(), Connections: 1})
	var wg sync.WaitGroup
	wg.Go(func() { client.Run(ctx) })
	s.until("the other client is connected", func() bool { return client.Connected() > 0 })
	go func() {
		_, _ = client.Send(ctx, ctx, dbproxy.Message{From: sender, To: receiver, Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT, Data: []byte("x")})
	}()
	if err := rule.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	wg.Wait()
	hold.Release()
	s.until("the message is stored", func() bool { return s.rows() == 1 })
}

// TestReorder lets a later answer leave first.
func TestReorder(t *testing.T) {
	s := newStand(t, dbproxy.Options{Connections: 1})
	s.proxy.Add(Rule{Direction: ToClient, Commands: sends, Count: 1, Do: Reorder(1, patience)})
	first := make(chan error, 1)
	go func() {
		_, err := s.send()
		first <- err
	}()
	s.until("the first message is stored", func() bool { return s.rows() == 1 })
	if len(first) > 0 {
		t.Error("the first answer was not held")
	}
	if _, err := s.send(); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestGone(t *testing.T) {
	s := newStand(t, dbproxy.Options{Connections: 1})
	s.proxy.SetGone(true)
	s.until("connections are refused", func() bool { return s.proxy.Refused() > 2 })
	// A refused connection is up for a moment.
	s.until("the client is not connected", func() bool { return s.db.Connected() == 0 })
	s.proxy.SetGone(false)
	s.connected()
	if _, err := s.send(); err != nil {
		t.Error(err)
	}
}

func TestRuleChooses(t *testing.T) {
	s := newStand(t, dbproxy.Options{})
	var seen []uint32
	rule := s.proxy.Add(Rule{
		Commands: sends, Skip: 1, Every: 2, Count: 2, Do: Pass,
		Match:  func(f Frame) bool { return !f.Group() },
		OnFire: func(f Frame) { seen = append(seen, f.Message().GetToSessionId()) },
	})
	for range 9 {
		if _, err := s.send(); err != nil {
			t.Fatal(err)
		}
	}
	if rule.Fired() != 2 || len(seen) != 2 || seen[0] != receiver {
		t.Errorf("fired %d times, for %v", rule.Fired(), seen)
	}
}

func TestGroupFrames(t *testing.T) {
	group, single := wire.SessionType_SESSION_TYPE_GROUP.Enum(), wire.SessionType_SESSION_TYPE_SINGLE.Enum()
	for name, tc := range map[string]struct {
		command wire.Command
		body    proto.Message
		want    bool
	}{
		"a group's list": {wire.CommandMsgListReq, &wire.IMGetMsgListReq{
			UserId: proto.Uint32(1), SessionType: group, SessionId: proto.Uint32(7), MsgIdBegin: proto.Uint32(0), MsgCnt: proto.Uint32(1),
		}, true},
		"a user's list": {wire.CommandMsgListReq, &wire.IMGetMsgListReq{
			UserId: proto.Uint32(1), SessionType: single, SessionId: proto.Uint32(7), MsgIdBegin: proto.Uint32(0), MsgCnt: proto.Uint32(1),
		}, false},
		"group info": {wire.CommandGroupInfoReq, &wire.IMGroupInfoListReq{UserId: proto.Uint32(1)}, true},
		"user info":  {wire.CommandUsersInfoReq, &wire.IMUsersInfoReq{UserId: proto.Uint32(1)}, false},
	} {
		body, err := proto.Marshal(tc.body)
		if err != nil {
			t.Fatal(err)
		}
		f := Frame{}
		f.Command, f.Body = tc.command, body
		if f.Group() != tc.want {
			t.Errorf("%s: %v", name, f.Group())
		}
	}
}

// TestOnPass tells of what is passed on, and over which connection.
func TestOnPass(t *testing.T) {
	s := newStand(t, dbproxy.Options{Connections: 1})
	var mu sync.Mutex
	var passed []Direction
	over := map[*Conn]bool{}
	s.proxy.OnPass(func(c *Conn, f Frame) {
		mu.Lock()
		defer mu.Unlock()
		if f.Message() != nil {
			passed, over[c] = append(passed, f.Direction), true
		}
	})
	s.proxy.Add(Rule{Direction: ToClient, Commands: sends, Skip: 1, Do: Cut})
	if _, err := s.send(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.send(); !errors.Is(err, dbproxy.ErrConnectionLost) {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []Direction{ToServer, ToClient, ToServer}; !slices.Equal(passed, want) || len(over) != 1 {
		t.Errorf("passed %v over %d connections, want %v over one", passed, len(over), want)
	}
	for c := range over {
		if !c.Ended() {
			t.Error("its connection has not ended")
		}
	}
}
