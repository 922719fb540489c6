// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxUsers is the highest number of users in an answer, and maxUserGroups that of a user's groups.
	maxUsers, maxUserGroups = 250_000, 10_000
	// groupVersionLen is more than an element of a list of groups takes, in bytes.
	groupVersionLen = 32
)

// UserScanner gets the users of an answer one by one, on the goroutine that reads the connection.
type UserScanner interface {
	// Begin is called before the first user of an answer.
	Begin()
	// User gets the login name, which is valid during the call.
	User(id uint32, loginName []byte)
}

// ScanUsers passes all users who have not left TeamTalk to the scanner, without holding more than one of them. The
// answer about 20,000 users has 5 MB: ask rarely. It sends one request, and does not repeat it as other reads do. If it
// returns an error, the scanner may still be called later. No user at all proves nothing: db_proxy answers so if its
// database fails.
func (p *Path) ScanUsers(ctx context.Context, requester uint32, to UserScanner) error {
	answer := &wire.IMAllUserRsp{}
	x := &exchange{
		request: wire.CommandAllUsersReq,
		// With another time, db_proxy answers only if it was started after it.
		message: &wire.IMAllUserReq{UserId: &requester, LatestUpdateTime: proto.Uint32(0)},
		answer:  answer,
		matches: func() bool { return answer.GetUserId() == requester },
		rows:    maxUsers,
		scan:    userRows{to}, scanField: userField, maxRow: userLen,
	}
	if err := p.do(ctx, x); err != nil || x.scanned {
		return err
	}
	to.Begin()
	for _, user := range answer.GetUserList() {
		to.User(user.GetUserId(), []byte(user.GetUserRealName()))
	}
	return nil
}

// userRows parses users. It holds none of their fields: a list of 20,000 has 200,000.
type userRows struct{ UserScanner }

const userIDField, userNameField = 1, 7

func (u userRows) row(b []byte) error {
	var id uint64
	var name []byte
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || kind == protowire.StartGroupType {
			return errField
		}
		value := b[n:]
		length := protowire.ConsumeFieldValue(number, kind, value)
		switch {
		case length < 0:
			return errField
		case number == userIDField && kind == protowire.VarintType:
			id, _ = protowire.ConsumeVarint(value)
		case number == userNameField && kind == protowire.BytesType:
			name, _ = protowire.ConsumeBytes(value)
		}
		b = value[length:]
	}
	u.User(uint32(id), name)
	return nil
}

// GroupsOf returns the normal groups of a user. An empty result proves nothing: db_proxy returns it if its database
// fails.
func (p *Path) GroupsOf(ctx context.Context, user uint32) ([]uint32, error) {
	var answer *wire.IMNormalGroupListRsp
	if err := p.read(ctx, func() *exchange {
		answer = &wire.IMNormalGroupListRsp{}
		return &exchange{
			request: wire.CommandUserGroupsReq,
			group:   true,
			message: &wire.IMNormalGroupListReq{UserId: &user},
			answer:  answer,
			matches: func() bool { return answer.GetUserId() == user },
			limit:   maxRest + maxUserGroups*groupVersionLen,
			rows:    maxUserGroups,
		}
	}); err != nil {
		return nil, err
	}
	ids := make([]uint32, 0, len(answer.GetGroupVersionList()))
	for _, g := range answer.GetGroupVersionList() {
		ids = append(ids, g.GetGroupId())
	}
	return ids, nil
}
