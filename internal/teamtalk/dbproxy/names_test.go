// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

// roster is a UserScanner that wants "userN" for each id.
type roster struct {
	t     *testing.T
	users int
	want  []byte // allocated once
}

func (r *roster) Begin() { r.users = 0 }

func (r *roster) User(id uint32, name []byte) {
	r.users++
	if r.want = strconv.AppendUint(append(r.want[:0], "user"...), uint64(id), 10); !bytes.Equal(name, r.want) {
		r.t.Errorf("user %d has the name %q", id, name)
	}
}

// allUsers is an answer about so many users, whose other fields take size bytes each.
func allUsers(t *testing.T, handle uint32, n, size int) []byte {
	t.Helper()
	filler, answer := strings.Repeat("x", size), &wire.IMAllUserRsp{
		UserId: proto.Uint32(1), LatestUpdateTime: proto.Uint32(7), AttachData: pdu.AttachData(handle),
	}
	for i := range n {
		id := uint32(i + 1)
		answer.UserList = append(answer.UserList, &wire.UserInfo{
			UserId: &id, UserGender: proto.Uint32(1), UserNickName: &filler, AvatarUrl: proto.String(""),
			DepartmentId: proto.Uint32(1), Email: proto.String(""), UserRealName: proto.String(fmt.Sprintf("user%d", id)),
			UserTel: proto.String(""), UserDomain: proto.String(""), Status: proto.Uint32(1),
		})
	}
	p, err := pdu.New(wire.CommandAllUsersRsp, uint16(handle), answer)
	if err != nil {
		t.Fatal(err)
	}
	return p.Append(nil)
}

// TestScanUsers reads the names of all users, of an answer of any length, and holds none of them.
func TestScanUsers(t *testing.T) {
	tests := map[string]struct {
		users, size int
		wantErr     []error
	}{
		"none":              {users: 0},
		"short":             {users: 3, size: 10},
		"20,000 users":      {users: 20_000, size: 250},
		"a user too long":   {users: 20, size: userLen, wantErr: []error{ErrTooLong}},
		"far too many":      {users: maxUsers + 1, size: 0, wantErr: []error{ErrTooLong}},
		"as many as it may": {users: maxUsers, size: 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
				answer := allUsers(t, 1, tc.users, tc.size)
				got := &roster{t: t}
				scan := async(func() (int, error) { return 0, h.ScanUsers(t.Context(), 1, got) })
				var request wire.IMAllUserReq
				if err := proto.Unmarshal(server.Next().Body, &request); err != nil || request.LatestUpdateTime == nil ||
					request.GetLatestUpdateTime() != 0 {
					t.Errorf("the request is %+v: %v", &request, err)
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				server.SendRaw(answer)
				want(t, "scan", <-scan, 0, tc.wantErr...)
				runtime.ReadMemStats(&after)
				if tc.wantErr == nil && got.users != tc.users {
					t.Errorf("%d users, want %d", got.users, tc.users)
				}
				if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
					t.Errorf("%d bytes are allocated for an answer of %d", n, len(answer))
				}
			})
		})
	}
}

// TestScanUsersMalformed: what does not parse ends the request, and not the connection.
func TestScanUsersMalformed(t *testing.T) {
	for name, row := range map[string][]byte{
		"a group":          bytes.Repeat([]byte{0x0b}, 200),
		"an overlong name": append([]byte{7<<3 | 2, 0xff, 0x01}, make([]byte, 10)...),
		"half a number":    {1 << 3, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
				scan := async(func() (int, error) { return 0, h.ScanUsers(t.Context(), 1, &roster{t: t}) })
				body := append([]byte{userField<<3 | 2, byte(len(row)), byte(len(row) >> 7)}, row...)
				if len(row) < 128 {
					body = append([]byte{userField<<3 | 2, byte(len(row))}, row...)
				} else {
					body[1] |= 0x80
				}
				server.SendRaw(pdu.PDU{Command: wire.CommandAllUsersRsp, Seq: server.Next().Seq, Body: padded(body)}.Append(nil))
				want(t, "scan", <-scan, 0, ErrTooLong)
				read := usersAsync(t, h)
				answerUsers(server, server.Next())
				want(t, "users", <-read, 0)
			})
		})
	}
}

// TestGroupsOf reads the groups of a user.
func TestGroupsOf(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
		groups := async(func() (string, error) {
			ids, err := h.GroupsOf(t.Context(), 1)
			return fmt.Sprint(ids), err
		})
		asked := server.Next()
		answer := &wire.IMNormalGroupListRsp{UserId: proto.Uint32(1), AttachData: pdu.AttachData(uint32(asked.Seq))}
		for _, id := range []uint32{7, 9} {
			answer.GroupVersionList = append(answer.GroupVersionList, &wire.GroupVersionInfo{GroupId: &id, Version: proto.Uint32(3)})
		}
		server.Send(wire.CommandUserGroupsRsp, asked.Seq, answer)
		want(t, "groups", <-groups, "[7 9]")
	})
}
