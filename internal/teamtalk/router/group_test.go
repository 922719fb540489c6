// SPDX-License-Identifier: Apache-2.0

package router

import (
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

// TestGroupChanged: which group was changed is known, however many members it has, and whatever else the router relays.
func TestGroupChanged(t *testing.T) {
	notify := func(members int) *wire.IMGroupChangeMemberNotify {
		return &wire.IMGroupChangeMemberNotify{
			UserId: proto.Uint32(1), ChangeType: wire.GroupModifyType_GROUP_MODIFY_TYPE_ADD.Enum(), GroupId: proto.Uint32(7),
			CurUserIdList: make([]uint32, members), ChgUserIdList: []uint32{3},
		}
	}
	var changed []uint32
	bubble(t, Options{OnGroup: func(group uint32) { changed = append(changed, group) }},
		func(t *testing.T, h *harness, router *peer.Conn) {
			router.Send(wire.CommandGroupChangeNotify, 0, notify(2))
			router.Send(wire.CommandGroupChangeNotify, 0, notify(3000))
			router.Send(wire.CommandGroupChangeNotify, 0, &wire.IMUsersStatReq{UserId: proto.Uint32(1), UserIdList: []uint32{3}})
			router.Send(wire.CommandGroupChangeNotify, 0, &wire.IMHeartBeat{})
			synctest.Wait()
			h.wantRoutes(t, router)
		})
	if len(changed) != 2 || changed[0] != 7 || changed[1] != 7 {
		t.Errorf("groups %v were changed, want 7 twice", changed)
	}
}
