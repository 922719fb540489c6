// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// frame is one recorded exchange; Response is nil where nothing came.
type frame struct {
	Name     string
	Request  string
	Response *string
}

func recorded(t *testing.T) map[string]frame {
	t.Helper()
	raw, err := os.ReadFile("../testdata/frames.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Frames []frame }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	frames := make(map[string]frame, len(file.Frames))
	for _, f := range file.Frames {
		frames[f.Name] = f
	}
	return frames
}

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
	user := func(id uint32, n string) *wire.UserInfo {
		return &wire.UserInfo{
			UserId: &id, UserGender: proto.Uint32(1), UserNickName: proto.String("nick" + n), AvatarUrl: proto.String(""),
			DepartmentId: proto.Uint32(1), Email: proto.String("u" + n + "@x"), UserRealName: proto.String("user" + n),
			UserTel: proto.String("1"), UserDomain: proto.String("user" + n), Status: proto.Uint32(2), SignInfo: proto.String(""),
		}
	}
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
	oversize := make([]byte, 4100)
	for i := range oversize {
		oversize[i] = 'A'
	}
	cases := map[string]struct {
		handle  uint32
		request func(context.Context, *Client) (any, error)
		want    any // nil: no answer
	}{
		"user_info": {handle: 1, request: users(1, 2, 99999), want: map[uint32]*wire.UserInfo{1: user(1, "1"), 2: user(2, "2")}},
		"group_info": {
			handle:  2,
			request: func(ctx context.Context, c *Client) (any, error) { return c.Groups(ctx, 1, []uint32{1, 77}) },
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
		"send_oversize":         {handle: 8, request: send(1, 160, text, string(oversize)), want: uint32(2)},
		"send_group_unknown":    {handle: 9, request: send(1, 77, groupText, hello)},
		"send_group_not_member": {handle: 10, request: send(9, 1, groupText, hello)},
		"send_empty":            {handle: 11, request: send(1, 160, text, "")},
		"send_bad_type":         {handle: 12, request: send(1, 160, 3, hello)},
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
		"msg_list_empty": {handle: 16, request: list(Session{single, 1, 199}, 10), want: []*wire.MsgInfo(nil)},
	}
	frames := recorded(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			rec, ok := frames[name]
			if !ok {
				t.Fatal("not recorded")
			}
			synctest.Test(t, func(t *testing.T) {
				h := run(t, Options{})
				defer h.stop()
				server := <-h.peers
				defer func() { _ = server.nc.Close() }()
				h.handles.Store(tc.handle - 1)
				got := async(func() (any, error) { return tc.request(t.Context(), h.Client) })
				if req := hex.EncodeToString(server.next().Append(nil)); req != rec.Request {
					t.Errorf("requested\n%s, want\n%s", req, rec.Request)
				}
				if (rec.Response == nil) != (tc.want == nil) {
					t.Fatal("the table disagrees with what was recorded")
				}
				if rec.Response == nil {
					if r := <-got; !errors.Is(r.err, ErrNoAnswer) || r.took != 10*time.Second {
						t.Errorf("%v after %v", r.err, r.took)
					}
					return
				}
				response, err := hex.DecodeString(*rec.Response)
				if err != nil {
					t.Fatal(err)
				}
				server.write(response)
				r := <-got
				if r.err != nil {
					t.Fatal(r.err)
				}
				if diff := cmp.Diff(tc.want, r.got, protocmp.Transform()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}
