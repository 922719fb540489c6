package dbproxy

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// ErrRefused is db_proxy's answer that it did not do it.
var ErrRefused = errors.New("refused by db_proxy")

// NewGroup is a group to be created. db_proxy does not look whether its members
// exist, and does not add its creator to them.
type NewGroup struct {
	// By is the creator; 0: the system.
	By           uint32
	Temporary    bool
	Name, Avatar string
	Members      []uint32
}

// MemberChange adds users to a group, or removes them.
type MemberChange struct {
	// By is who changes it; 0 may change every group.
	By      uint32
	Group   uint32
	Remove  bool
	Members []uint32
}

// Type is the change's direction on the wire.
func (c MemberChange) Type() wire.GroupModifyType {
	if c.Remove {
		return wire.GroupModifyType_GROUP_MODIFY_TYPE_DEL
	}
	return wire.GroupModifyType_GROUP_MODIFY_TYPE_ADD
}

// Membership is a group's members after a change, and those that it added or removed.
type Membership struct{ Current, Changed []uint32 }

// CreateGroup creates a group and returns its id. db_proxy keeps no id of the
// caller's: creating twice makes two groups. As with Send, no answer is reported
// only once db_proxy can execute the request no longer than its settle time.
func (c *Client) CreateGroup(ctx context.Context, g NewGroup) (uint32, error) {
	answer := &wire.IMGroupCreateRsp{}
	kind := wire.GroupType_GROUP_TYPE_NORMAL
	if g.Temporary {
		kind = wire.GroupType_GROUP_TYPE_TMP
	}
	err := c.anyPath().do(ctx, exchange{
		request:  wire.CommandGroupCreateReq,
		response: wire.CommandGroupCreateRsp,
		group:    true,
		stores:   true,
		body: func(attach []byte) proto.Message {
			return &wire.IMGroupCreateReq{
				UserId: &g.By, GroupType: &kind, GroupName: &g.Name, GroupAvatar: &g.Avatar,
				MemberIdList: g.Members, AttachData: attach,
			}
		},
		answer:  answer,
		matches: func() bool { return answer.GetUserId() == g.By && answer.GetGroupName() == g.Name },
	})
	switch {
	case err != nil:
		return 0, err
	case answer.GetResultCode() != 0 || answer.GetGroupId() == 0:
		return 0, ErrRefused
	}
	return answer.GetGroupId(), nil
}

// ChangeMembers changes a group's members. db_proxy does not answer for a group that
// it does not know, and refuses to add only users who are members already.
func (c *Client) ChangeMembers(ctx context.Context, m MemberChange) (Membership, error) {
	answer := &wire.IMGroupChangeMemberRsp{}
	kind := m.Type()
	err := c.anyPath().do(ctx, exchange{
		request:  wire.CommandGroupChangeReq,
		response: wire.CommandGroupChangeRsp,
		group:    true,
		stores:   true,
		body: func(attach []byte) proto.Message {
			return &wire.IMGroupChangeMemberReq{
				UserId: &m.By, ChangeType: &kind, GroupId: &m.Group, MemberIdList: m.Members, AttachData: attach,
			}
		},
		answer:  answer,
		matches: func() bool { return answer.GetUserId() == m.By && answer.GetGroupId() == m.Group },
	})
	switch {
	case err != nil:
		return Membership{}, err
	case answer.GetResultCode() != 0:
		return Membership{}, ErrRefused
	}
	return Membership{Current: answer.GetCurUserIdList(), Changed: answer.GetChgUserIdList()}, nil
}
