// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
	"github.com/teamtalk-io/teamtalk-operator/test/recorded"
)

// TestConformance makes each recorded request and gives the recorded answer.
func TestConformance(t *testing.T) {
	const (
		createTime = 1795409000
		hello      = "nnZSBwfPCz60q69ddmfIJA=="
		longer     = "tlIiCNLOsHT1BJt1Di1Vq4q3s4+oFw9xjSr7BzFz0SEzJ1HQK9uoa/PoVq2JmEmJ"
		single     = wire.SessionType_SESSION_TYPE_SINGLE
		group      = wire.SessionType_SESSION_TYPE_GROUP
		text       = wire.MsgType_MSG_TYPE_SINGLE_TEXT
		groupText  = wire.MsgType_MSG_TYPE_GROUP_TEXT
	)
	row := func(id, from, at uint32, kind wire.MsgType, data string) *wire.MsgInfo {
		return &wire.MsgInfo{MsgId: &id, FromSessionId: &from, CreateTime: &at, MsgType: &kind, MsgData: []byte(data)}
	}
	send := func(from, to uint32, kind wire.MsgType, data string) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) {
			return c.Send(ctx, ctx, Message{From: from, To: to, CreateTime: createTime, Type: kind, Data: []byte(data)})
		}
	}
	users := func(ids ...uint32) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.Users(ctx, 1, ids) }
	}
	list := func(s Session, count uint32) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.List(ctx, s, count) }
	}
	byID := func(s Session, ids ...uint32) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.ByID(ctx, s, ids) }
	}
	create := func(g NewGroup) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.CreateGroup(ctx, ctx, g) }
	}
	change := func(m MemberChange) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.ChangeMembers(ctx, ctx, m) }
	}
	added := MemberChange{Group: 1, Members: []uint32{30, 31}}
	removed := MemberChange{Group: 1, Remove: true, Members: []uint32{31}}
	cases := map[string]struct {
		handle  uint32
		request func(context.Context, *Client) (any, error)
		want    any
		wantErr error
	}{
		"user_info": {handle: 1, request: users(1, 2, 99999), want: map[uint32]*wire.UserInfo{
			1: {UserId: proto.Uint32(1), UserRealName: proto.String("user1"), Status: proto.Uint32(2)},
			2: {UserId: proto.Uint32(2), UserRealName: proto.String("user2"), Status: proto.Uint32(2)},
		}},
		"group_info": {
			handle:  2,
			request: func(ctx context.Context, c *Client) (any, error) { return c.Groups(ctx, 1, []uint32{1, 77}, nil) },
			want: map[uint32]*wire.GroupInfo{1: {
				GroupId: proto.Uint32(1), Version: proto.Uint32(3), GroupName: proto.String("ops"), GroupAvatar: proto.String(""),
				GroupCreatorId: proto.Uint32(0), GroupType: wire.GroupType_GROUP_TYPE_NORMAL.Enum(), ShieldStatus: proto.Uint32(0),
				GroupMemberList: []uint32{1, 10, 2, 3, 4},
			}},
		},
		"send_single":           {handle: 3, request: send(1, 160, text, hello), want: uint32(1)},
		"send_group":            {handle: 4, request: send(1, 1, groupText, hello), want: uint32(3)},
		"send_to_self":          {handle: 5, request: send(3, 3, text, hello), want: uint32(0)},
		"send_from_zero":        {handle: 6, request: send(0, 160, text, hello), want: uint32(0)},
		"send_unknown_user":     {handle: 7, request: send(1, 99998, text, hello), want: uint32(1)},
		"send_oversize":         {handle: 8, request: send(1, 160, text, strings.Repeat("A", 4100)), want: uint32(2)},
		"send_group_unknown":    {handle: 9, request: send(1, 77, groupText, hello), wantErr: ErrNoAnswer},
		"send_group_not_member": {handle: 10, request: send(9, 1, groupText, hello), wantErr: ErrNoAnswer},
		"send_empty":            {handle: 11, request: send(1, 160, text, ""), wantErr: ErrNoAnswer},
		"send_bad_type":         {handle: 12, request: send(1, 160, 3, hello), wantErr: ErrNoAnswer},
		"get_by_id": {
			handle: 13, request: byID(Session{single, 1, 160}, 1, 2),
			want: []*wire.MsgInfo{row(1, 1, createTime, text, hello)},
		},
		"get_by_id_group": {
			handle: 14, request: byID(Session{group, 1, 1}, 3),
			want: []*wire.MsgInfo{row(3, 1, createTime, groupText, hello)},
		},
		"msg_list": {
			handle: 15, request: list(Session{single, 1, 150}, 10),
			want: []*wire.MsgInfo{
				row(2, 1, createTime-156, text, longer),
				row(1, 1, createTime-156, text, hello),
			},
		},
		"latest_id": {handle: 17, request: func(ctx context.Context, c *Client) (any, error) {
			return c.LatestID(ctx, Session{single, 1, 150})
		}, want: uint32(2)},
		"msg_list_empty":       {handle: 16, request: list(Session{single, 1, 199}, 10), want: []*wire.MsgInfo(nil)},
		"group_create":         {handle: 19, request: create(NewGroup{Name: "release", Members: []uint32{1, 20, 21}}), want: uint32(3)},
		"group_create_no_name": {handle: 20, request: create(NewGroup{Members: []uint32{1}}), wantErr: ErrRefused},
		"group_add": {
			handle: 21, request: change(added),
			want: Membership{Current: []uint32{1, 10, 2, 3, 30, 31, 4}, Changed: []uint32{30, 31}},
		},
		"group_add_again": {handle: 22, request: change(added), wantErr: ErrRefused},
		"group_remove": {
			handle: 23, request: change(removed),
			want: Membership{Current: []uint32{1, 10, 2, 3, 30, 4}, Changed: []uint32{31}},
		},
		"group_change_unknown": {handle: 24, request: change(MemberChange{Group: 777, Members: []uint32{31}}), wantErr: ErrNoAnswer},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			rec := recorded.Named(t, name)
			bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
				h.handles.Store(tc.handle - 1)
				got := async(func() (any, error) { return tc.request(t.Context(), h.Client) })
				if req := server.Next().Append(nil); !bytes.Equal(req, rec.Request) {
					t.Errorf("requested\n%x, want\n%x", req, rec.Request)
				}
				wantTook := 10 * time.Second
				if rec.Response != nil {
					server.SendRaw(rec.Response)
					wantTook = 0
				}
				r := <-got
				wantAfter(t, name, r, wantTook)
				if tc.wantErr != nil {
					peer.WantErr(t, name, r.err, tc.wantErr)
				} else if diff := cmp.Diff(tc.want, r.got, protocmp.Transform()); diff != "" || r.err != nil {
					t.Errorf("%v (-want +got):\n%s", r.err, diff)
				}
			})
		})
	}
}

// TestUnread asks for the sessions with unread messages of a user.
func TestUnread(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
		got := async(func() ([]*wire.UnreadInfo, error) { return h.Unread(t.Context(), 3) })
		req := server.Next()
		if req.Command != wire.CommandUnreadCntReq || !bytes.HasPrefix(req.Body, []byte{8, 3}) {
			t.Errorf("requested %#04x %x", uint16(req.Command), req.Body)
		}
		session := &wire.UnreadInfo{
			SessionId: proto.Uint32(1), SessionType: wire.SessionType_SESSION_TYPE_SINGLE.Enum(), UnreadCnt: proto.Uint32(2),
			LatestMsgId: proto.Uint32(17), LatestMsgData: []byte("x"), LatestMsgType: wire.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(),
			LatestMsgFromUserId: proto.Uint32(1),
		}
		server.Send(wire.CommandUnreadCntRsp, req.Seq, &wire.IMUnreadMsgCntRsp{
			UserId: proto.Uint32(3), TotalCnt: proto.Uint32(2), UnreadinfoList: []*wire.UnreadInfo{session},
			AttachData: pdu.AttachData(uint32(req.Seq)),
		})
		session.LatestMsgData = nil // it is dropped
		r := <-got
		if diff := cmp.Diff([]*wire.UnreadInfo{session}, r.got, protocmp.Transform()); diff != "" || r.err != nil {
			t.Errorf("%v (-want +got):\n%s", r.err, diff)
		}
	})
}

// TestRecentSessions asks for all of a user's sessions.
func TestRecentSessions(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
		got := async(func() ([]*wire.ContactSessionInfo, error) { return h.RecentSessions(t.Context(), 1) })
		req := server.Next()
		if req.Command != wire.CommandRecentSessionsReq || !bytes.HasPrefix(req.Body, []byte{8, 1, 16, 0}) {
			t.Errorf("requested %#04x %x", uint16(req.Command), req.Body)
		}
		session := &wire.ContactSessionInfo{
			SessionId: proto.Uint32(3), SessionType: wire.SessionType_SESSION_TYPE_SINGLE.Enum(),
			SessionStatus: wire.SessionStatusType_SESSION_STATUS_OK.Enum(), UpdatedTime: proto.Uint32(1700000000),
			LatestMsgId: proto.Uint32(17), LatestMsgData: []byte("x"), LatestMsgType: wire.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(),
			LatestMsgFromUserId: proto.Uint32(3),
		}
		server.Send(wire.CommandRecentSessionsRsp, req.Seq, &wire.IMRecentContactSessionRsp{
			UserId: proto.Uint32(1), ContactSessionList: []*wire.ContactSessionInfo{session},
			AttachData: pdu.AttachData(uint32(req.Seq)),
		})
		session.LatestMsgData = nil // it is dropped
		r := <-got
		if diff := cmp.Diff([]*wire.ContactSessionInfo{session}, r.got, protocmp.Transform()); diff != "" || r.err != nil {
			t.Errorf("%v (-want +got):\n%s", r.err, diff)
		}
	})
}

// TestTemporaryGroup: the type that clients create.
func TestTemporaryGroup(t *testing.T) {
	bubble(t, Options{RequestTimeout: time.Second}, func(t *testing.T, h *harness, server *peer.Conn) {
		got := async(func() (uint32, error) {
			return h.CreateGroup(t.Context(), t.Context(), NewGroup{By: 1, Temporary: true, Name: "x", Avatar: "http://a", Members: []uint32{2}})
		})
		if body := server.Next().Body; !bytes.HasPrefix(body, []byte{8, 1, 16, 2}) {
			t.Errorf("requested %x", body)
		}
		want(t, "create", <-got, 0, ErrNoAnswer)
	})
}
