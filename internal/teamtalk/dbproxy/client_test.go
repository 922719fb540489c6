// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// want checks what a request returned.
func want[T comparable](t *testing.T, what string, r result[T], got T, errs ...error) {
	t.Helper()
	if r.got != got || len(errs) == 0 && r.err != nil {
		t.Errorf("%s: %v, %v", what, r.got, r.err)
	}
	for _, err := range errs {
		if !errors.Is(r.err, err) {
			t.Errorf("%s: %v, want %v", what, r.err, err)
		}
	}
}

// pending fails the test where a request has returned.
func pending[T any](t *testing.T, what string, results <-chan result[T]) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-results:
		t.Errorf("%s returned %v, %v", what, r.got, r.err)
	default:
	}
}

func TestMayHaveArrived(t *testing.T) {
	cases := map[string]struct {
		err  error
		want bool
	}{
		"an answer":       {want: true},
		"not sent":        {err: ErrNotSent},
		"not connected":   {err: notSent(ErrNotConnected)},
		"no answer":       {err: fmt.Errorf("%w: %w", ErrNoAnswer, context.Canceled), want: true},
		"connection lost": {err: ErrConnectionLost, want: true},
		"too long":        {err: ErrTooLong, want: true},
		"malformed":       {err: ErrMalformed, want: true},
		"anything else":   {err: io.EOF, want: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := MayHaveArrived(tc.err); got != tc.want {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	cases := map[string]struct{ connections, want int }{
		"none":     {0, 1},
		"negative": {-3, 1},
		"some":     {5, 5},
		"too many": {17, 16},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := run(t, Options{Connections: tc.connections})
				if n := h.Connected(); n != tc.want {
					t.Errorf("%d connections, want %d", n, tc.want)
				}
				h.stop()
			})
		})
	}
}

func TestNotSent(t *testing.T) {
	errGate := errors.New("gate closed")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	cases := map[string]struct {
		opts      Options
		ctx       context.Context
		message   Message
		dialFails bool
		want      error
	}{
		"not connected":     {dialFails: true, want: ErrNotConnected},
		"gate closed":       {opts: Options{Gate: func() error { return errGate }}, want: errGate},
		"context done":      {ctx: cancelled, want: context.Canceled},
		"first in the list": {dialFails: true, ctx: cancelled, want: ErrNotConnected},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tc.dialFails {
					tc.opts.Dial = link.DialFunc(nil)
				}
				var h *harness
				if tc.dialFails {
					h = &harness{Client: New(tc.opts)} // never run
				} else {
					h = run(t, tc.opts)
					defer h.stop()
				}
				ctx := tc.ctx
				if ctx == nil {
					ctx = t.Context()
				}
				r := <-h.sendAsync(ctx, message(2))
				want(t, "Send", r, 0, ErrNotSent, tc.want)
				if r.took != 0 || MayHaveArrived(r.err) {
					t.Errorf("after %v: %v", r.took, r.err)
				}
				if _, err := h.Users(ctx, 1, []uint32{1}); !errors.Is(err, ErrNotSent) {
					t.Errorf("Users: %v", err)
				}
				if _, err := h.Groups(ctx, 1, []uint32{1}); !errors.Is(err, ErrNotSent) {
					t.Errorf("Groups: %v", err)
				}
				if _, err := h.List(ctx, Session{}, 1); !errors.Is(err, ErrNotSent) {
					t.Errorf("List: %v", err)
				}
				if _, err := h.ByID(ctx, Session{}, []uint32{1}); !errors.Is(err, ErrNotSent) {
					t.Errorf("ByID: %v", err)
				}
				if l := h.opts.Limiter; l.used != 0 || l.usedGroup != 0 {
					t.Errorf("%d and %d slots are still held", l.used, l.usedGroup)
				}
			})
		})
	}
}

// TestNoIDs: nothing is asked where there is nothing to ask for.
func TestNoIDs(t *testing.T) {
	c := New(Options{})
	if users, err := c.Users(t.Context(), 1, nil); users == nil || len(users) > 0 || err != nil {
		t.Errorf("Users: %v, %v", users, err)
	}
	if groups, err := c.Groups(t.Context(), 1, nil); groups == nil || len(groups) > 0 || err != nil {
		t.Errorf("Groups: %v, %v", groups, err)
	}
	if rows, err := c.ByID(t.Context(), Session{}, nil); len(rows) > 0 || err != nil {
		t.Errorf("ByID: %v, %v", rows, err)
	}
}

func TestAnswersInAnyOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{})
		server := <-h.peers
		const n = 50
		var results []<-chan result[uint32]
		var requests []pdu.PDU
		for i := range uint32(n) {
			results = append(results, h.sendAsync(t.Context(), message(100+i)))
			requests = append(requests, server.next())
		}
		for i := n - 1; i >= 0; i-- {
			// Only the handle counts: message servers' seq could be anything.
			requests[i].Seq += 7
			server.stored(requests[i], uint32(1000+i))
			want(t, fmt.Sprint("send ", i), <-results[i], uint32(1000+i))
		}
		if n := h.Unmatched(); n != 0 {
			t.Errorf("%d unmatched", n)
		}
		h.stop()
	})
}

func TestLateAndUnmatchedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Limiter: NewLimiter(1, 1)})
		server := <-h.peers
		session := Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: 1, ID: 2}
		first := async(func() (int, error) {
			rows, err := h.List(t.Context(), session, 3)
			return len(rows), err
		})
		late := server.next()
		elapse(5 * time.Second)
		second := h.sendAsync(t.Context(), message(3)) // waits for the slot
		r := <-first
		want(t, "first", r, 0, ErrNoAnswer)
		if r.took != 10*time.Second {
			t.Errorf("after %v", r.took)
		}
		req := server.next()
		server.send(wire.CommandMsgListRsp, late.Seq, &wire.IMGetMsgListRsp{ // late
			UserId: proto.Uint32(1), SessionType: &session.Type, SessionId: proto.Uint32(2), MsgIdBegin: proto.Uint32(0),
			AttachData: pdu.AttachData(uint32(late.Seq)),
		})
		server.send(wire.CommandMsgReadNotify, 0, &wire.IMHeartBeat{})   // nobody asked
		server.send(wire.CommandMsgData, req.Seq, &wire.IMHeartBeat{})   // without a handle
		server.write(pdu.PDU{Seq: req.Seq, Body: []byte{7}}.Append(nil)) // not protobuf
		server.write(pdu.PDU{Seq: req.Seq, Body: []byte{0xa2, 1, 9, 9}}.Append(nil))
		server.write(pdu.PDU{Seq: req.Seq, Body: []byte{0x0a, 9, 9}}.Append(nil))
		server.send(wire.CommandUsersInfoRsp, req.Seq, &wire.IMUsersInfoRsp{
			UserId: proto.Uint32(1), AttachData: pdu.AttachData(uint32(req.Seq) + 1<<16), // another handle of this seq
		})
		pending(t, "second", second)
		server.stored(req, 8)
		want(t, "second", <-second, 8)
		server.stored(req, 9) // once more
		synctest.Wait()
		if n := h.Unmatched(); n != 8 {
			t.Errorf("%d unmatched", n)
		}
		third := h.sendAsync(t.Context(), message(4))
		server.stored(server.next(), 10)
		want(t, "third", <-third, 10)
		h.stop()
	})
}

// TestMalformed gives wrong answers under the right handle.
func TestMalformed(t *testing.T) {
	users := func(ctx context.Context, c *Client) error { _, err := c.Users(ctx, 1, []uint32{2}); return err }
	groups := func(ctx context.Context, c *Client) error { _, err := c.Groups(ctx, 1, []uint32{2}); return err }
	send := func(ctx context.Context, c *Client) error { _, err := c.Send(ctx, ctx, message(2)); return err }
	session := Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: 1, ID: 2}
	list := func(ctx context.Context, c *Client) error { _, err := c.List(ctx, session, 3); return err }
	byID := func(ctx context.Context, c *Client) error { _, err := c.ByID(ctx, session, []uint32{3}); return err }
	data := func(from, to uint32) *wire.IMMsgData { return Message{From: from, To: to, Type: 1}.Wire(5) }
	listed := func(user uint32, kind wire.SessionType, id uint32) *wire.IMGetMsgListRsp {
		return &wire.IMGetMsgListRsp{UserId: &user, SessionType: &kind, SessionId: &id, MsgIdBegin: proto.Uint32(0)}
	}
	cases := map[string]struct {
		request func(context.Context, *Client) error
		command wire.Command
		answer  proto.Message
		raw     []byte // before attach_data, instead of answer
	}{
		"another command":        {request: users, command: wire.CommandGroupInfoRsp, answer: &wire.IMGroupInfoListRsp{UserId: proto.Uint32(1)}},
		"another asker":          {request: users, command: wire.CommandUsersInfoRsp, answer: &wire.IMUsersInfoRsp{UserId: proto.Uint32(3)}},
		"another group asker":    {request: groups, command: wire.CommandGroupInfoRsp, answer: &wire.IMGroupInfoListRsp{UserId: proto.Uint32(3)}},
		"another sender":         {request: send, command: wire.CommandMsgData, answer: data(9, 2)},
		"another recipient":      {request: send, command: wire.CommandMsgData, answer: data(1, 9)},
		"another reader":         {request: list, command: wire.CommandMsgListRsp, answer: listed(9, 1, 2)},
		"another kind":           {request: list, command: wire.CommandMsgListRsp, answer: listed(1, 2, 2)},
		"another session":        {request: list, command: wire.CommandMsgListRsp, answer: listed(1, 1, 9)},
		"another session by id":  {request: byID, command: wire.CommandMsgByIDRsp, answer: &wire.IMGetMsgByIdRsp{UserId: proto.Uint32(1), SessionType: wire.SessionType(1).Enum(), SessionId: proto.Uint32(9)}},
		"required field missing": {request: users, command: wire.CommandUsersInfoRsp, raw: []byte{}},
		"unknown enum value":     {request: list, command: wire.CommandMsgListRsp, raw: []byte{0x08, 1, 0x10, 3, 0x18, 2, 0x20, 0}},
		"garbage in a record":    {request: users, command: wire.CommandUsersInfoRsp, raw: []byte{0x08, 1, 0x12, 2, 0xff, 0xff}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := run(t, Options{})
				server := <-h.peers
				got := async(func() (int, error) { return 0, tc.request(t.Context(), h.Client) })
				req := server.next()
				body := tc.raw
				if tc.answer != nil {
					var err error
					if body, err = proto.Marshal(tc.answer); err != nil {
						t.Fatal(err)
					}
				}
				body = append(append(body, 0xa2, 1, 12), pdu.AttachData(uint32(req.Seq))...)
				server.write(pdu.PDU{Command: tc.command, Seq: req.Seq, Body: body}.Append(nil))
				r := <-got
				want(t, name, r, 0, ErrMalformed)
				if !MayHaveArrived(r.err) || r.took != 0 {
					t.Errorf("after %v: %v", r.took, r.err)
				}
				h.stop()
			})
		})
	}
}

func TestTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{})
		server := <-h.peers
		session := Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: 1, ID: 2}
		list := async(func() (int, error) {
			rows, err := h.List(t.Context(), session, 1000)
			return len(rows), err
		})
		listReq := server.next()
		send := h.sendAsync(t.Context(), message(2))
		sendReq := server.next()
		long := pdu.PDU{Command: wire.CommandMsgByIDRsp, Seq: listReq.Seq, Body: make([]byte, pdu.MaxIn)}
		server.write(long.Append(nil)) // the right seq, another command
		long.Command, long.Seq = wire.CommandMsgListRsp, listReq.Seq+50
		server.write(long.Append(nil)) // the right command, another seq
		pending(t, "list", list)
		long.Seq = listReq.Seq
		server.write(long.Append(nil))
		want(t, "list", <-list, 0, ErrTooLong)
		server.stored(sendReq, 5)
		want(t, "send", <-send, 5)
		if n := h.Unmatched(); n != 2 {
			t.Errorf("%d unmatched", n)
		}
		h.stop()
	})
}

func TestByIDSplits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{})
		server := <-h.peers
		ids := make([]uint32, 250)
		for i := range ids {
			ids[i] = uint32(i + 1)
		}
		session := Session{Type: wire.SessionType_SESSION_TYPE_GROUP, UserID: 1, ID: 2}
		found := async(func() (int, error) {
			rows, err := h.ByID(t.Context(), session, ids)
			for i, row := range rows {
				if row.GetMsgId() != uint32(i+1) {
					t.Errorf("row %d has id %d", i, row.GetMsgId())
				}
			}
			return len(rows), err
		})
		for _, size := range []int{100, 100, 50} {
			req := server.next()
			var asked wire.IMGetMsgByIdReq
			if err := proto.Unmarshal(req.Body, &asked); err != nil {
				t.Fatal(err)
			}
			if n := len(asked.GetMsgIdList()); n != size {
				t.Errorf("asked for %d ids, want %d", n, size)
			}
			answer := &wire.IMGetMsgByIdRsp{UserId: asked.UserId, SessionType: asked.SessionType, SessionId: asked.SessionId, AttachData: asked.AttachData}
			for _, id := range asked.GetMsgIdList() {
				answer.MsgList = append(answer.MsgList, &wire.MsgInfo{
					MsgId: &id, FromSessionId: proto.Uint32(1), CreateTime: proto.Uint32(1),
					MsgType: wire.MsgType_MSG_TYPE_GROUP_TEXT.Enum(), MsgData: []byte("x"),
				})
			}
			server.send(wire.CommandMsgByIDRsp, req.Seq, answer)
		}
		want(t, "ByID", <-found, 250)
		h.stop()
	})
}

// TestHandlesWrap: a handle whose seq is still in use is passed over.
func TestHandlesWrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{})
		server := <-h.peers
		h.handles.Store(0xFFFF_FFFD)
		var results []<-chan result[uint32]
		var requests []pdu.PDU
		for range 3 {
			results = append(results, h.sendAsync(t.Context(), message(2)))
			requests = append(requests, server.next())
		}
		h.handles.Store(0x0001_FFFD)
		results = append(results, h.sendAsync(t.Context(), message(2)))
		requests = append(requests, server.next())
		for i, wantSeq := range []uint16{0xFFFE, 0xFFFF, 0, 1} {
			if requests[i].Seq != wantSeq {
				t.Errorf("request %d has seq %#x, want %#x", i, requests[i].Seq, wantSeq)
			}
			server.stored(requests[i], uint32(i+1))
			want(t, fmt.Sprint("send ", i), <-results[i], uint32(i+1))
		}
		h.stop()
	})
}

func TestNoHandleLeft(t *testing.T) {
	cn := &conn{client: New(Options{}), calls: make(map[uint16]*call)}
	for seq := range 1 << 16 {
		cn.calls[uint16(seq)] = &call{}
	}
	if err := cn.register(&call{}); !errors.Is(err, errTooManyHandles) {
		t.Errorf("register: %v", err)
	}
	cn.calls = nil
	if err := cn.register(&call{}); !errors.Is(err, ErrNotConnected) {
		t.Errorf("register: %v", err)
	}
}
