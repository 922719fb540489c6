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
