// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	resultOK     = 0
	resultFailed = 1
)

func (d *dbproxy) users(body []byte) (call, error) {
	m, err := parse[wire.IMUsersInfoReq](body)
	if err != nil {
		return call{}, err
	}
	about := fault.Request{From: m.GetUserId(), To: m.GetUserIdList()}
	return call{about: about, answer: wire.CommandUsersInfoRsp, run: func(how manner) (proto.Message, error) {
		answer := &wire.IMUsersInfoRsp{UserId: m.UserId, AttachData: m.AttachData}
		if how.empty() {
			return answer, nil
		}
		users, err := d.store.Users(append([]uint32{}, m.GetUserIdList()...))
		for _, u := range users {
			answer.UserInfoList = append(answer.UserInfoList, userInfo(u))
		}
		return answer, err
	}}, nil
}

func userInfo(u User) *wire.UserInfo {
	return &wire.UserInfo{
		UserId: proto.Uint32(u.ID), UserGender: proto.Uint32(u.Gender), UserNickName: proto.String(u.Nick),
		AvatarUrl: proto.String(u.Avatar), DepartmentId: proto.Uint32(u.Department), Email: proto.String(u.Email),
		UserRealName: proto.String(u.Name), UserTel: proto.String(u.Tel), UserDomain: proto.String(u.Domain),
		Status: proto.Uint32(u.Status), SignInfo: proto.String(u.Sign),
	}
}

func (d *dbproxy) groupsOf(body []byte) (call, error) {
	m, err := parse[wire.IMNormalGroupListReq](body)
	if err != nil {
		return call{}, err
	}
	about := fault.Request{From: m.GetUserId(), To: []uint32{m.GetUserId()}}
	return call{about: about, answer: wire.CommandUserGroupsRsp, run: func(how manner) (proto.Message, error) {
		answer := &wire.IMNormalGroupListRsp{UserId: m.UserId, AttachData: m.AttachData}
		if how.empty() {
			return answer, nil
		}
		groups, err := d.store.GroupsOf(m.GetUserId(), how.view.Lag)
		for _, g := range groups {
			answer.GroupVersionList = append(answer.GroupVersionList, &wire.GroupVersionInfo{
				GroupId: proto.Uint32(g.ID), Version: proto.Uint32(g.Version),
			})
		}
		return answer, err
	}}, nil
}

func (d *dbproxy) groups(body []byte) (call, error) {
	m, err := parse[wire.IMGroupInfoListReq](body)
	if err != nil {
		return call{}, err
	}
	known := map[uint32]uint32{} // the versions that the requester has
	ids := []uint32{}
	for _, v := range m.GetGroupVersionList() {
		ids = append(ids, v.GetGroupId())
		known[v.GetGroupId()] = v.GetVersion()
	}
	about := fault.Request{From: m.GetUserId(), To: ids, Session: wire.SessionType_SESSION_TYPE_GROUP}
	return call{about: about, answer: wire.CommandGroupInfoRsp, run: func(how manner) (proto.Message, error) {
		answer := &wire.IMGroupInfoListRsp{UserId: m.UserId, AttachData: m.AttachData}
		if how.empty() {
			return answer, nil
		}
		groups, err := d.store.Groups(ids)
		for _, g := range groups {
			if g.Version <= known[g.ID] {
				continue
			}
			if d.faults.GroupEmpty(d.groupInfo(about), g.ID) {
				g.Members = nil
			}
			answer.GroupInfoList = append(answer.GroupInfoList, &wire.GroupInfo{
				GroupId: proto.Uint32(g.ID), Version: proto.Uint32(g.Version), GroupName: proto.String(g.Name),
				GroupAvatar: proto.String(g.Avatar), GroupCreatorId: proto.Uint32(g.Creator), GroupType: g.Type.Enum(),
				ShieldStatus: proto.Uint32(0), GroupMemberList: g.Members,
			})
		}
		return answer, err
	}}, nil
}

// groupInfo completes the properties by which faults are selected.
func (d *dbproxy) groupInfo(about fault.Request) fault.Request {
	about.Server, about.Command = fault.DBProxy, wire.CommandGroupInfoReq
	return about
}

func (d *dbproxy) createGroup(body []byte) (call, error) {
	m, err := parse[wire.IMGroupCreateReq](body)
	if err != nil {
		return call{}, err
	}
	about := fault.Request{From: m.GetUserId(), To: m.GetMemberIdList(), Session: wire.SessionType_SESSION_TYPE_GROUP}
	return call{about: about, answer: wire.CommandGroupCreateRsp, run: func(how manner) (proto.Message, error) {
		answer := &wire.IMGroupCreateRsp{
			UserId: m.UserId, ResultCode: proto.Uint32(resultFailed), GroupName: m.GroupName,
			UserIdList: store.SortedSet(m.GetMemberIdList()), AttachData: m.AttachData,
		}
		if m.GetGroupName() == "" || how.effect.Kind == fault.IDZero {
			return answer, nil
		}
		id, err := d.store.AddGroup(store.GroupInfo{
			Name: m.GetGroupName(), Avatar: m.GetGroupAvatar(), Creator: m.GetUserId(),
			Type: m.GetGroupType(), Members: answer.UserIdList,
		}, d.options.Now())
		answer.ResultCode, answer.GroupId = proto.Uint32(resultOK), proto.Uint32(id)
		return answer, err
	}}, nil
}

func (d *dbproxy) changeGroup(body []byte) (call, error) {
	m, err := parse[wire.IMGroupChangeMemberReq](body)
	if err != nil {
		return call{}, err
	}
	about := fault.Request{From: m.GetUserId(), To: []uint32{m.GetGroupId()}, Session: wire.SessionType_SESSION_TYPE_GROUP}
	return call{about: about, answer: wire.CommandGroupChangeRsp, run: func(how manner) (proto.Message, error) {
		answer := &wire.IMGroupChangeMemberRsp{
			UserId: m.UserId, ChangeType: m.ChangeType, ResultCode: proto.Uint32(resultFailed),
			GroupId: m.GroupId, AttachData: m.AttachData,
		}
		if how.effect.Kind == fault.IDZero {
			return answer, nil
		}
		change, known, err := d.store.ChangeMembers(m.GetUserId(), m.GetGroupId(), m.GetChangeType(), m.GetMemberIdList())
		if err != nil || !known {
			return nil, err
		}
		if change.OK {
			answer.ResultCode = proto.Uint32(resultOK)
			answer.CurUserIdList, answer.ChgUserIdList = change.Current, change.Changed
		}
		return answer, nil
	}}, nil
}
