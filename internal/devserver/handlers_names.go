// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// allUsers answers with the users who have not left. A stock server compares the time of the request with the time of
// its last change, which is when it was started at the latest.
func (d *dbproxy) allUsers(body []byte) (call, error) {
	m, err := parse[wire.IMAllUserReq](body)
	if err != nil {
		return call{}, err
	}
	about := fault.Request{From: m.GetUserId()}
	return call{about: about, answer: wire.CommandAllUsersRsp, run: func(how manner) (proto.Message, error) {
		answer := &wire.IMAllUserRsp{UserId: m.UserId, LatestUpdateTime: m.LatestUpdateTime, AttachData: m.AttachData}
		started := uint32(d.started.Unix())
		if how.empty() || m.GetLatestUpdateTime() >= started {
			return answer, nil
		}
		answer.LatestUpdateTime = &started
		users, err := d.store.Users(nil)
		for _, u := range users {
			if u.Status != wire.UserStatusDeparted {
				answer.UserList = append(answer.UserList, userInfo(u))
			}
		}
		return answer, err
	}}, nil
}

// groupsOf answers with the normal groups that have the user as a member.
func (d *dbproxy) groupsOf(body []byte) (call, error) {
	m, err := parse[wire.IMNormalGroupListReq](body)
	if err != nil {
		return call{}, err
	}
	about := fault.Request{From: m.GetUserId(), Session: wire.SessionType_SESSION_TYPE_GROUP}
	return call{about: about, answer: wire.CommandUserGroupsRsp, run: func(how manner) (proto.Message, error) {
		answer := &wire.IMNormalGroupListRsp{UserId: m.UserId, AttachData: m.AttachData}
		if how.empty() {
			return answer, nil
		}
		groups, err := d.store.GroupsOf(m.GetUserId())
		for _, g := range groups {
			answer.GroupVersionList = append(answer.GroupVersionList, &wire.GroupVersionInfo{
				GroupId: proto.Uint32(g.ID), Version: proto.Uint32(g.Version),
			})
		}
		return answer, err
	}}, nil
}
