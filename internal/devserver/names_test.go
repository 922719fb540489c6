// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestAllUsers lists who has not left, and answers nothing to who asks for changes.
func TestAllUsers(t *testing.T) {
	s, c := serve(t, func(o *Options) { o.Seed = DefaultSeed().WithColleagues(3) })
	gone := NewUser(100_002, "gone", "colleague2")
	gone.Status = wire.UserStatusDeparted
	if err := s.AddUser(gone); err != nil {
		t.Fatal(err)
	}
	ask := func(since uint32) (names []string) {
		c.send(wire.CommandAllUsersReq, 1, &wire.IMAllUserReq{UserId: proto.Uint32(1), LatestUpdateTime: &since})
		for _, u := range body[wire.IMAllUserRsp](t, c.next()).GetUserList() {
			if u.GetUserId() >= firstColleague {
				names = append(names, u.GetUserRealName())
			}
		}
		return names
	}
	equal(t, "all", "[colleague1 colleague3]", fmt.Sprint(ask(0)))
	equal(t, "changes", "[]", fmt.Sprint(ask(1<<32-1)))
	// By id it is still there.
	c.send(wire.CommandUsersInfoReq, 1, &wire.IMUsersInfoReq{UserId: proto.Uint32(1), UserIdList: []uint32{gone.ID}})
	equal(t, "by id", 1, len(body[wire.IMUsersInfoRsp](t, c.next()).GetUserInfoList()))
}

// TestGroupsOf lists the normal groups of a user.
func TestGroupsOf(t *testing.T) {
	s, c := serve(t, nil)
	if err := s.PutGroup(Group{ID: 9, Name: "temporary", Type: wire.GroupType_GROUP_TYPE_TMP, Members: []uint32{1}}); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[uint32]string{1: "[8 7]", 5: "[8]", 99: "[]"} {
		c.send(wire.CommandUserGroupsReq, 1, &wire.IMNormalGroupListReq{UserId: &user})
		var ids []uint32
		for _, g := range body[wire.IMNormalGroupListRsp](t, c.next()).GetGroupVersionList() {
			ids = append(ids, g.GetGroupId())
		}
		equal(t, fmt.Sprintf("groups of %d", user), want, fmt.Sprint(ids))
	}
}
