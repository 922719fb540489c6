// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

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
			})
		})
	}
}

func TestNotSent(t *testing.T) {
	errGate := errors.New("gate closed")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	cases := map[string]struct {
		gate    func() error
		ctx     context.Context
		offline bool
		want    error
	}{
		"not connected":                {offline: true, want: ErrNotConnected},
		"gate closed":                  {gate: func() error { return errGate }, want: errGate},
		"context done":                 {ctx: cancelled, want: context.Canceled},
		"not connected before context": {offline: true, ctx: cancelled, want: ErrNotConnected},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &harness{Client: New(Options{})}
				if !tc.offline {
					h = run(t, Options{Gate: tc.gate})
				}
				ctx := cmp.Or(tc.ctx, t.Context())
				r := <-h.sendAsync(ctx, message(2))
				want(t, "Send", r, 0, ErrNotSent, tc.want)
				wantAfter(t, "Send", r, 0)
				for name, request := range requests {
					peer.WantErr(t, name, request(ctx, h.Client), ErrNotSent, tc.want)
				}
				wantSlots(t, h.limiter(), 0, 0)
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
	if groups, err := c.Groups(t.Context(), 1, nil, nil); groups == nil || len(groups) > 0 || err != nil {
		t.Errorf("Groups: %v, %v", groups, err)
	}
	if rows, err := c.ByID(t.Context(), Session{}, nil); len(rows) > 0 || err != nil {
		t.Errorf("ByID: %v, %v", rows, err)
	}
}

func TestAnswersInAnyOrder(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
		const n = 50
		var results []<-chan result[uint32]
		var requests []pdu.PDU
		for i := range uint32(n) {
			results = append(results, h.sendAsync(t.Context(), message(100+i)))
			requests = append(requests, server.Next())
		}
		for i := n - 1; i >= 0; i-- {
			// Only the handle counts: message servers' seq could be anything.
			requests[i].Seq += 7
			answerStored(t, server, requests[i], uint32(1000+i))
			want(t, fmt.Sprint("send ", i), <-results[i], uint32(1000+i))
		}
	})
}

func TestLateAndUnmatchedAnswers(t *testing.T) {
	const timeout = firstLate / 2 // the connection is not replaced before
	bubble(t, Options{RequestTimeout: timeout, Limits: NewLimits(1, 1)}, func(t *testing.T, h *harness, server *peer.Conn) {
		first := listAsync(t, h, singleChat)
		late := server.Next()
		peer.Elapse(timeout / 2)
		second := h.sendAsync(t.Context(), message(3)) // waits for the slot
		r := <-first
		want(t, "first", r, 0, ErrNoAnswer)
		wantAfter(t, "first", r, timeout)
		req := server.Next()
		server.Send(wire.CommandMsgListRsp, late.Seq, answerList(uint32(late.Seq), singleChat, 0, 0))
		server.Send(wire.CommandMsgReadNotify, 0, &wire.IMHeartBeat{})     // nobody asked
		server.Send(wire.CommandMsgData, req.Seq, &wire.IMHeartBeat{})     // without a handle
		server.SendRaw(pdu.PDU{Seq: req.Seq, Body: []byte{7}}.Append(nil)) // not protobuf
		server.SendRaw(pdu.PDU{Seq: req.Seq, Body: []byte{0xa2, 1, 9, 9}}.Append(nil))
		server.SendRaw(pdu.PDU{Seq: req.Seq, Body: []byte{0x0a, 9, 9}}.Append(nil))
		server.Send(wire.CommandUsersInfoRsp, req.Seq, &wire.IMUsersInfoRsp{
			UserId: proto.Uint32(1), AttachData: pdu.AttachData(uint32(req.Seq) + 1<<16), // another handle of this seq
		})
		pending(t, "second", second)
		answerStored(t, server, req, 8)
		want(t, "second", <-second, 8)
		answerStored(t, server, req, 9) // once more
		third := h.sendAsync(t.Context(), message(4))
		answerStored(t, server, server.Next(), 10)
		want(t, "third", <-third, 10)
	})
}

// TestMalformed gives wrong answers under the right handle.
func TestMalformed(t *testing.T) {
	data := func(from, to uint32) *wire.IMMsgData { return Message{From: from, To: to, Type: 1}.Wire(5) }
	listed := func(user uint32, kind wire.SessionType, id uint32) *wire.IMGetMsgListRsp {
		return &wire.IMGetMsgListRsp{UserId: &user, SessionType: &kind, SessionId: &id, MsgIdBegin: proto.Uint32(0)}
	}
	cases := map[string]struct {
		request string
		command wire.Command
		answer  proto.Message
		raw     []byte // before attach_data, instead of answer
	}{
		"another command":         {request: "users", command: wire.CommandGroupInfoRsp, answer: &wire.IMGroupInfoListRsp{UserId: proto.Uint32(1)}},
		"another requester":       {request: "users", command: wire.CommandUsersInfoRsp, answer: &wire.IMUsersInfoRsp{UserId: proto.Uint32(3)}},
		"another user":            {request: "sessions", command: wire.CommandRecentSessionsRsp, answer: &wire.IMRecentContactSessionRsp{UserId: proto.Uint32(3)}},
		"another's counters":      {request: "unread", command: wire.CommandUnreadCntRsp, answer: &wire.IMUnreadMsgCntRsp{UserId: proto.Uint32(3), TotalCnt: proto.Uint32(0)}},
		"another group requester": {request: "groups", command: wire.CommandGroupInfoRsp, answer: &wire.IMGroupInfoListRsp{UserId: proto.Uint32(3)}},
		"another sender":          {request: "send", command: wire.CommandMsgData, answer: data(9, 2)},
		"another recipient":       {request: "send", command: wire.CommandMsgData, answer: data(1, 9)},
		"another reader":          {request: "list", command: wire.CommandMsgListRsp, answer: listed(9, 1, 2)},
		"another kind":            {request: "list", command: wire.CommandMsgListRsp, answer: listed(1, 2, 2)},
		"another session":         {request: "list", command: wire.CommandMsgListRsp, answer: listed(1, 1, 9)},
		"another session by id":   {request: "by id", command: wire.CommandMsgByIDRsp, answer: &wire.IMGetMsgByIdRsp{UserId: proto.Uint32(1), SessionType: wire.SessionType(1).Enum(), SessionId: proto.Uint32(9)}},
		"required field missing":  {request: "users", command: wire.CommandUsersInfoRsp, raw: []byte{}},
		"unknown enum value":      {request: "list", command: wire.CommandMsgListRsp, raw: []byte{0x08, 1, 0x10, 3, 0x18, 2, 0x20, 0}},
		"garbage in a record":     {request: "users", command: wire.CommandUsersInfoRsp, raw: []byte{0x08, 1, 0x12, 2, 0xff, 0xff}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
				got := async(func() (int, error) { return 0, requests[tc.request](t.Context(), h.Client) })
				req := server.Next()
				body := tc.raw
				if tc.answer != nil {
					var err error
					if body, err = proto.Marshal(tc.answer); err != nil {
						t.Fatal(err)
					}
				}
				body = append(append(body, 0xa2, 1, 12), pdu.AttachData(uint32(req.Seq))...)
				server.SendRaw(pdu.PDU{Command: tc.command, Seq: req.Seq, Body: body}.Append(nil))
				r := <-got
				want(t, name, r, 0, ErrMalformed)
				wantAfter(t, name, r, 0)
			})
		})
	}
}

func TestTooLong(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
		list := listAsync(t, h, singleChat)
		listReq := server.Next()
		send := h.sendAsync(t.Context(), message(2))
		sendReq := server.Next()
		long := pdu.PDU{Command: wire.CommandMsgByIDRsp, Seq: listReq.Seq, Body: make([]byte, pdu.MaxIn)}
		server.SendRaw(long.Append(nil)) // the right seq, another command
		long.Command, long.Seq = wire.CommandMsgListRsp, listReq.Seq+50
		server.SendRaw(long.Append(nil)) // the right command, another seq
		pending(t, "list", list)
		long.Seq = listReq.Seq
		server.SendRaw(long.Append(nil))
		want(t, "list", <-list, 0, ErrTooLong)
		answerStored(t, server, sendReq, 5)
		want(t, "send", <-send, 5)
	})
}

func TestByIDSplits(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
		ids := make([]uint32, 250)
		for i := range ids {
			ids[i] = uint32(i + 1)
		}
		found := async(func() (int, error) {
			rows, err := h.ByID(t.Context(), groupChat, ids)
			for i, row := range rows {
				if row.GetMsgId() != uint32(i+1) {
					t.Errorf("row %d has id %d", i, row.GetMsgId())
				}
			}
			return len(rows), err
		})
		for _, size := range []int{100, 100, 50} {
			req := server.Next()
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
			server.Send(wire.CommandMsgByIDRsp, req.Seq, answer)
		}
		want(t, "ByID", <-found, 250)
	})
}

// TestHandlesWrap: a handle whose seq is still in use is passed over.
func TestHandlesWrap(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
		h.handles.Store(0xFFFF_FFFD)
		var results []<-chan result[uint32]
		var requests []pdu.PDU
		for range 3 {
			results = append(results, h.sendAsync(t.Context(), message(2)))
			requests = append(requests, server.Next())
		}
		h.handles.Store(0x0001_FFFD)
		results = append(results, h.sendAsync(t.Context(), message(2)))
		requests = append(requests, server.Next())
		for i, wantSeq := range []uint16{0xFFFE, 0xFFFF, 0, 1} {
			if requests[i].Seq != wantSeq {
				t.Errorf("request %d has seq %#x, want %#x", i, requests[i].Seq, wantSeq)
			}
			answerStored(t, server, requests[i], uint32(i+1))
			want(t, fmt.Sprint("send ", i), <-results[i], uint32(i+1))
		}
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
