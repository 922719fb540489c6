// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// ErrRefused reports an answer of db_proxy that it has not executed the request.
var ErrRefused = errors.New("refused by db_proxy")

// NewGroup is a group to create. db_proxy does not check whether its members exist, and does not add the
// creator to them.
type NewGroup struct {
	// By is the creator, or 0 for the system.
	By           uint32
	Temporary    bool
	Name, Avatar string
	Members      []uint32
}

// MemberChange adds users to a group or removes them.
type MemberChange struct {
	// By is the user who changes the group. 0 may change every group.
	By      uint32
	Group   uint32
	Remove  bool
	Members []uint32
}

// Type is the protocol's type of the change.
func (c MemberChange) Type() wire.GroupModifyType {
	if c.Remove {
		return wire.GroupModifyType_GROUP_MODIFY_TYPE_DEL
	}
	return wire.GroupModifyType_GROUP_MODIFY_TYPE_ADD
}

// Membership lists the members of a group after a change, and those that the change concerns.
type Membership struct{ Current, Changed []uint32 }

// CreateGroup creates a group and returns its id. db_proxy does not deduplicate: creating twice creates two
// groups. For queue and ErrNoAnswer see SendLatest.
func (c *Client) CreateGroup(ctx, queue context.Context, g NewGroup) (uint32, error) {
	answer := &wire.IMGroupCreateRsp{}
	kind := wire.GroupType_GROUP_TYPE_NORMAL
	if g.Temporary {
		kind = wire.GroupType_GROUP_TYPE_TMP
	}
	err := c.do(ctx, &exchange{
		queue:   queue,
		request: wire.CommandGroupCreateReq,
		group:   true,
		stores:  true,
		message: &wire.IMGroupCreateReq{
			UserId: &g.By, GroupType: &kind, GroupName: &g.Name, GroupAvatar: &g.Avatar, MemberIdList: g.Members,
		},
		answer:  answer,
		matches: func() bool { return answer.GetUserId() == g.By && answer.GetGroupName() == g.Name },
		limit:   groupsLen,
	})
	switch {
	case err != nil:
		return 0, err
	case answer.GetResultCode() != 0 || answer.GetGroupId() == 0:
		return 0, ErrRefused
	}
	return answer.GetGroupId(), nil
}

// ChangeMembers changes the members of a group. db_proxy does not answer if the group does not exist, and
// refuses a change that only adds existing members. For queue and ErrNoAnswer see SendLatest.
func (c *Client) ChangeMembers(ctx, queue context.Context, m MemberChange) (Membership, error) {
	answer := &wire.IMGroupChangeMemberRsp{}
	kind := m.Type()
	err := c.do(ctx, &exchange{
		queue:   queue,
		request: wire.CommandGroupChangeReq,
		group:   true,
		stores:  true,
		message: &wire.IMGroupChangeMemberReq{
			UserId: &m.By, ChangeType: &kind, GroupId: &m.Group, MemberIdList: m.Members,
		},
		answer:  answer,
		matches: func() bool { return answer.GetUserId() == m.By && answer.GetGroupId() == m.Group },
		limit:   groupsLen,
	})
	switch {
	case err != nil:
		return Membership{}, err
	case answer.GetResultCode() != 0:
		return Membership{}, ErrRefused
	}
	return Membership{Current: answer.GetCurUserIdList(), Changed: answer.GetChgUserIdList()}, nil
}
