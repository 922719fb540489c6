// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"errors"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience limits the wait for expected events.
const patience = 20 * time.Second

var name = types.NamespacedName{Namespace: "chat", Name: "tt"}

// harness is a Manager that runs, and the changes that it reports.
type harness struct {
	*Manager
	t       *testing.T
	changed chan struct{}
	usable  atomic.Int32
	reads   chan router.Read
	gone    atomic.Int32
}

func start(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, changed: make(chan struct{}, 1), reads: make(chan router.Read, 10)}
	// on returns a callback for the one server.
	on := func(do func()) func(types.NamespacedName) {
		return func(key types.NamespacedName) {
			if do(); key != name {
				t.Errorf("a change of %s", key)
			}
		}
	}
	h.Manager = NewManager(logr.Discard(), dbproxy.NewLimits(64, 8), nil, Events{
		Connection: on(func() {
			select {
			case h.changed <- struct{}{}:
			default:
			}
		}),
		Usable: on(func() { h.usable.Add(1) }),
		Gone:   on(func() { h.gone.Add(1) }),
		Read: func(key types.NamespacedName, r router.Read) {
			on(func() { h.reads <- r })(key)
		},
	})
	run(t, h.Manager)
	return h
}

// run runs a Manager until the test has ended.
func run(t *testing.T, m *Manager) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
}

// await waits until is holds. What no change reports is looked for again soon.
func (h *harness) await(what string, is func() bool) {
	h.t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	limit := time.After(patience)
	for !is() {
		select {
		case <-h.changed:
		case <-ticker.C:
		case <-limit:
			h.t.Fatalf("%s: not in time", what)
		}
	}
}

func (h *harness) ready(s *Session) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		h.t.Fatalf("WaitReady: %v", err)
	}
}

func (h *harness) path(s *Session) dbproxy.Reads {
	h.t.Helper()
	p, done, err := s.Path()
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(done)
	return p
}

func serve(t *testing.T) *devserver.Server {
	t.Helper()
	s, err := devserver.Start(context.Background(), devserver.Options{
		DBProxyAddress: ":0", RouterAddress: ":0", InboxAddress: ":0",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func config(s *devserver.Server) Config {
	return Config{
		DBProxy: []string{s.DBProxyAddr()}, Connections: 2, MaxInFlight: 8, MaxGroupInFlight: 2,
		Router: []string{s.RouterAddr()},
	}
}

func keys(t *testing.T) cipher.Keys {
	t.Helper()
	c, err := cipher.New([]byte(devserver.DevelopmentKey))
	if err != nil {
		t.Fatal(err)
	}
	return cipher.Keys{Current: c}
}

func message(t *testing.T, text string) dbproxy.Message {
	return dbproxy.Message{
		From: 1, To: 3, CreateTime: uint32(time.Now().Unix()), Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT,
		Data: keys(t).Current.Encrypt([]byte(text)),
	}
}

func TestSession(t *testing.T) {
	server, h := serve(t), start(t)
	if _, ok := h.Get(name); ok {
		t.Error("a session from nowhere")
	}
	s := h.Ensure(name, config(server), keys(t))
	if got, ok := h.Get(name); !ok || got != s {
		t.Error("Get returns another session")
	}
	h.ready(s)
	want := Health{DBProxyConnected: 2, DBProxyDesired: 2, RouterConnected: 1, RouterDesired: 1}
	h.await("health", func() bool { return s.Health() == want })

	ctx := t.Context()
	path := h.path(s)
	if users, err := path.Users(ctx, 1, []uint32{1, 3, 999}); err != nil || len(users) != 2 {
		t.Errorf("%d users: %v", len(users), err)
	}
	if groups, err := path.Groups(ctx, 1, []uint32{7, 999}, nil); err != nil || len(groups) != 1 {
		t.Errorf("%d groups: %v", len(groups), err)
	}
	m := message(t, "hello")
	id, err := s.Send(ctx, ctx, m.Type, built(m), nil)
	if err != nil || id == 0 {
		t.Errorf("id %d: %v", id, err)
	}
	conversation := dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: 1, ID: 3}
	var listed ids
	if err := path.Scan(ctx, conversation, 10, &listed); err != nil || len(listed) != 1 || listed[0] != id {
		t.Errorf("listed %v: %v", listed, err)
	}
	if rows, err := path.ByID(ctx, conversation, []uint32{id}); err != nil || len(rows) != 1 {
		t.Errorf("read %v: %v", rows, err)
	}
	if err := s.Route(ctx, m, id); err != nil {
		t.Errorf("Route: %v", err)
	}

	h.Remove(name)
	h.Remove(name)
	if _, ok := h.Get(name); ok {
		t.Error("still there after Remove")
	}
	h.await("closed", func() bool { return s.Health().DBProxyConnected == 0 && s.Health().RouterConnected == 0 })
	if _, err := s.Send(ctx, ctx, m.Type, built(m), nil); !errors.Is(err, dbproxy.ErrNotSent) {
		t.Errorf("Send: %v", err)
	}
	if err := s.Route(ctx, m, id); err == nil {
		t.Error("routed by a session that is closed")
	}
}

func TestKeysSwapped(t *testing.T) {
	server, h := serve(t), start(t)
	s := h.Ensure(name, config(server), cipher.Keys{})
	if n := h.usable.Load(); n != 1 {
		t.Errorf("usable %d times, by the session alone it is once", n)
	}
	// Another one with a key connects meanwhile.
	other := start(t)
	other.ready(other.Ensure(name, config(server), keys(t)))
	if got := s.Health(); got.DBProxyConnected+got.RouterConnected > 0 {
		t.Errorf("connected without a key: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.WaitReady(ctx) }()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("ready without a key: %v", err)
	}
	go func() { result <- s.WaitReady(t.Context()) }()
	first := keys(t)
	if h.Ensure(name, config(server), first) != s {
		t.Error("another session for another key")
	}
	if err := <-result; err != nil {
		t.Errorf("WaitReady: %v", err)
	}
	second := cipher.Keys{Current: keys(t).Current, Previous: []*cipher.Cipher{first.Current}}
	h.Ensure(name, config(server), second)
	if !reflect.DeepEqual(s.Keys(), second) {
		t.Error("the keys are not the new ones")
	}
	if n := h.usable.Load(); n != 2 {
		t.Errorf("usable %d times, by the session and its first key it is twice", n)
	}
}

// TestConfigChanged: the old session is closed once what it has in flight is answered.
func TestConfigChanged(t *testing.T) {
	server, h := serve(t), start(t)
	before := h.Ensure(name, config(server), keys(t))
	h.ready(before)
	if _, err := server.Faults().Add(devserver.Fault{
		Kind: devserver.Late, Command: wire.CommandMsgData, Delay: 300 * time.Millisecond,
	}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := send(t, before, "in flight")
		answered <- err
	}()
	h.await("in flight", func() bool {
		rows, err := server.Messages(t.Context())
		return err == nil && len(rows) == 1
	})
	c := config(server)
	c.Connections, c.MaxInFlight = 1, 3
	after := h.Ensure(name, c, keys(t))
	if after == before {
		t.Fatal("the session is the old one")
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	h.await("closing", func() bool {
		_, err := send(t, before, "late")
		return errors.Is(err, dbproxy.ErrNotSent)
	})
	go func() { result <- before.WaitReady(ctx) }()
	h.ready(after)
	if err := <-answered; err != nil {
		t.Errorf("what was in flight: %v", err)
	}
	h.await("closed", func() bool { return before.Health().DBProxyConnected == 0 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("ready although closing: %v", err)
	}
	if got := after.Health().DBProxyDesired; got != 1 {
		t.Errorf("%d connections desired", got)
	}
}

func TestUnreachable(t *testing.T) {
	server, h := serve(t), start(t)
	c := config(server)
	server.Stop()
	s := h.Ensure(name, c, keys(t))
	if _, err := send(t, s, "x"); !errors.Is(err, dbproxy.ErrNotSent) {
		t.Errorf("Send: %v", err)
	}
	if err := s.Route(t.Context(), message(t, "x"), 1); !errors.Is(err, dbproxy.ErrNotSent) {
		t.Errorf("Route: %v", err)
	}
}

// TestOneOfSeveral: requests go to a db_proxy that is connected.
func TestOneOfSeveral(t *testing.T) {
	gone, server, h := serve(t), serve(t), start(t)
	c := config(server)
	c.DBProxy = []string{gone.DBProxyAddr(), server.DBProxyAddr()}
	gone.Stop()
	s := h.Ensure(name, c, keys(t))
	h.ready(s)
	for range 5 {
		if _, err := h.path(s).Users(t.Context(), 1, []uint32{1}); err != nil {
			t.Errorf("Users: %v", err)
		}
	}
}

// TestAfterTheEnd: nothing is started once the Manager has ended.
func TestAfterTheEnd(t *testing.T) {
	server := serve(t)
	m := NewManager(logr.Discard(), dbproxy.NewLimits(64, 8), nil, Events{
		Connection: func(types.NamespacedName) {}, Usable: func(types.NamespacedName) {},
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	s := m.Ensure(name, config(server), keys(t))
	if _, err := send(t, s, "x"); !errors.Is(err, dbproxy.ErrNotSent) {
		t.Errorf("Send: %v", err)
	}
	m.Remove(name)
}

// dialRouter connects to a router as a message server and sends a message.
func dialRouter(t *testing.T, address string, command wire.Command, seq uint16, m proto.Message) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p, err := pdu.New(command, seq, m)
	if err := errors.Join(err, conn.SetDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(p.Append(nil)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// listener is a message server that receives what a router relays.
type listener struct {
	t      *testing.T
	frames *pdu.Reader
}

func listen(t *testing.T, address string) *listener {
	t.Helper()
	conn := dialRouter(t, address, wire.CommandUsersStatReq, 1, &wire.IMUsersStatReq{UserId: proto.Uint32(1)})
	l := &listener{t, pdu.NewReader(conn, 0)}
	// The answer shows that the router knows the connection.
	l.next(wire.CommandUsersStatRsp)
	return l
}

func (l *listener) next(command wire.Command) pdu.PDU {
	l.t.Helper()
	for {
		p, err := l.frames.Read()
		if err != nil {
			l.t.Fatal(err)
		}
		if p.Command == command {
			return p
		}
	}
}

// wantID checks the id of the next message that is relayed.
func (l *listener) wantID(id uint32) {
	l.t.Helper()
	var m wire.IMMsgData
	if err := proto.Unmarshal(l.next(wire.CommandMsgData).Body, &m); err != nil || m.GetMsgId() != id {
		l.t.Errorf("relayed %d, want %d: %v", m.GetMsgId(), id, err)
	}
}

// TestRoutePicksOldest: one router takes a message, the one connected for longest.
func TestRoutePicksOldest(t *testing.T) {
	younger, older, h := serve(t), serve(t), start(t)
	down, err := younger.Faults().Add(devserver.Fault{Kind: devserver.Refuse, Server: devserver.InRouter, Down: true})
	if err != nil {
		t.Fatal(err)
	}
	c := config(older)
	c.Router = []string{younger.RouterAddr(), older.RouterAddr()}
	s := h.Ensure(name, c, keys(t))
	h.await("the older router", func() bool { return !s.routers[1].ConnectedSince().IsZero() })
	younger.Faults().Remove(down)
	h.await("both routers", func() bool { return s.Health().RouterConnected == 2 })

	one, two := listen(t, older.RouterAddr()), listen(t, younger.RouterAddr())
	m := message(t, "hello")
	if err := s.Route(t.Context(), m, 11); err != nil {
		t.Fatal(err)
	}
	one.wantID(11)
	older.Stop()
	h.await("the older one's end", func() bool { return s.routers[1].ConnectedSince().IsZero() })
	if err := s.Route(t.Context(), m, 12); err != nil {
		t.Fatal(err)
	}
	// The first that the younger one hears of.
	two.wantID(12)
}
