// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	singleChat = Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: 1, ID: 2}
	groupChat  = Session{Type: wire.SessionType_SESSION_TYPE_GROUP, UserID: 1, ID: 2}
)

// harness is a running Client and its server.
type harness struct {
	*Client
	*peer.Listener
	changes atomic.Int32
	stop    func()
}

// run starts a Client in a synctest bubble. All connections are up when it returns.
func run(t *testing.T, opts Options) *harness {
	t.Helper()
	return runOn(t, peer.Listen(t), opts)
}

func runOn(t *testing.T, l *peer.Listener, opts Options) *harness {
	t.Helper()
	h := &harness{Listener: l}
	opts.Address, opts.Dial, opts.OnChange = peer.Address, l.Dial, func() { h.changes.Add(1) }
	h.Client = New(opts)
	t.Cleanup(func() {
		if n := h.Connected(); n != 0 {
			t.Errorf("%d connections after the end", n)
		}
	})
	h.stop = peer.Start(t, h.Run)
	synctest.Wait()
	return h
}

// bubble runs f in a synctest bubble with a running Client and the server's end of one of its connections.
func bubble(t *testing.T, opts Options, f func(t *testing.T, h *harness, server *peer.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := run(t, opts)
		f(t, h, <-h.Conns)
	})
}

// rawBubble is bubble with a server that reads nothing by itself.
func rawBubble(t *testing.T, f func(t *testing.T, h *harness, server *peer.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := peer.Listen(t)
		l.Raw = true
		h := runOn(t, l, Options{})
		f(t, h, <-h.Conns)
	})
}

// wantState checks the connections and how often a change of them was reported.
func (h *harness) wantState(t *testing.T, connected int, changes int32) {
	t.Helper()
	synctest.Wait()
	if n := h.Connected(); n != connected || h.changes.Load() != changes {
		t.Errorf("%d connections after %d changes, want %d after %d", n, h.changes.Load(), connected, changes)
	}
}

// result is what a request returned.
type result[T any] struct {
	got  T
	err  error
	took time.Duration
}

// async makes a request in the background and lets it get as far as it can.
func async[T any](request func() (T, error)) <-chan result[T] {
	return peer.Async(func() result[T] {
		begun := time.Now()
		got, err := request()
		return result[T]{got, err, time.Since(begun)}
	})
}

// sendAsync sends m in the background.
func (h *harness) sendAsync(ctx context.Context, m Message) <-chan result[uint32] {
	return async(func() (uint32, error) { return h.Send(ctx, ctx, m) })
}

// usersAsync asks for a user in the background, and returns the number of those found.
func usersAsync(t *testing.T, r Reads) <-chan result[int] {
	return async(func() (int, error) {
		users, err := r.Users(t.Context(), 1, []uint32{2})
		return len(users), err
	})
}

// listAsync lists a session in the background, and returns the number of rows.
func listAsync(t *testing.T, h *harness, s Session) <-chan result[int] {
	return async(func() (int, error) {
		rows, err := h.List(t.Context(), s, 16)
		return len(rows), err
	})
}

// want checks what a request returned.
func want[T comparable](t *testing.T, what string, r result[T], got T, errs ...error) {
	t.Helper()
	if r.got != got {
		t.Errorf("%s: %v, want %v", what, r.got, got)
	}
	peer.WantErr(t, what, r.err, errs...)
}

// wantAfter checks how long a request took.
func wantAfter[T any](t *testing.T, what string, r result[T], took time.Duration) {
	t.Helper()
	if r.took != took {
		t.Errorf("%s: after %v, want %v", what, r.took, took)
	}
}

// pending checks that a request has not returned.
func pending[T any](t *testing.T, what string, results <-chan result[T]) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-results:
		t.Errorf("%s returned %v, %v", what, r.got, r.err)
	default:
	}
}

// limiter returns that of the server, or one without requests if there is none.
func (h *harness) limiter() *Limiter {
	if l := h.opts.Limits.limiters[pipe]; l != nil {
		return l
	}
	return &Limiter{mu: &sync.Mutex{}}
}

// pipe is the address of all connections of a peer.Listener.
const pipe = "pipe"

// wantSlots checks the slots of the limiter in use.
func wantSlots(t *testing.T, l *Limiter, total, group int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used != total || l.usedGroup != group {
		t.Errorf("%d and %d slots are held, want %d and %d", l.used, l.usedGroup, total, group)
	}
}

// requests are the requests of a Client, by name.
var requests = map[string]func(ctx context.Context, c *Client) error{
	"users":        func(ctx context.Context, c *Client) error { _, err := c.Users(ctx, 1, []uint32{2}); return err },
	"send":         func(ctx context.Context, c *Client) error { _, err := c.Send(ctx, ctx, message(2)); return err },
	"list":         func(ctx context.Context, c *Client) error { _, err := c.List(ctx, singleChat, 9); return err },
	"scan":         func(ctx context.Context, c *Client) error { return c.Scan(ctx, singleChat, 9, &counter{}) },
	"all users":    func(ctx context.Context, c *Client) error { return c.ScanUsers(ctx, 1, &roster{}) },
	"groups of":    func(ctx context.Context, c *Client) error { _, err := c.GroupsOf(ctx, 1); return err },
	"by id":        func(ctx context.Context, c *Client) error { _, err := c.ByID(ctx, singleChat, []uint32{1}); return err },
	"sessions":     func(ctx context.Context, c *Client) error { _, err := c.RecentSessions(ctx, 1); return err },
	"unread":       func(ctx context.Context, c *Client) error { _, err := c.Unread(ctx, 1); return err },
	"groups":       func(ctx context.Context, c *Client) error { _, err := c.Groups(ctx, 1, []uint32{2}, nil); return err },
	"group send":   func(ctx context.Context, c *Client) error { _, err := c.Send(ctx, ctx, groupMessage(2)); return err },
	"group audio":  func(ctx context.Context, c *Client) error { _, err := c.Send(ctx, ctx, Message{Type: 18}); return err },
	"group list":   func(ctx context.Context, c *Client) error { _, err := c.List(ctx, groupChat, 9); return err },
	"group by id":  func(ctx context.Context, c *Client) error { _, err := c.ByID(ctx, groupChat, []uint32{1}); return err },
	"single audio": func(ctx context.Context, c *Client) error { _, err := c.Send(ctx, ctx, Message{Type: 2}); return err },
}

// message is a text in a single chat from user 1.
func message(to uint32) Message {
	return Message{From: 1, To: to, CreateTime: 1700000000, Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT, Data: []byte("data")}
}

func groupMessage(to uint32) Message {
	m := message(to)
	m.Type = wire.MsgType_MSG_TYPE_GROUP_TEXT
	return m
}

// answerStored answers a send as db_proxy does, with the id.
func answerStored(t *testing.T, server *peer.Conn, req pdu.PDU, id uint32) {
	t.Helper()
	var m wire.IMMsgData
	if err := proto.Unmarshal(req.Body, &m); err != nil {
		t.Fatal(err)
	}
	m.MsgId = &id
	server.Send(wire.CommandMsgData, req.Seq, &m)
}

// answerUsers answers a request for users with none.
func answerUsers(server *peer.Conn, req pdu.PDU) {
	server.Send(wire.CommandUsersInfoRsp, req.Seq, &wire.IMUsersInfoRsp{
		UserId: proto.Uint32(1), AttachData: pdu.AttachData(uint32(req.Seq)),
	})
}
