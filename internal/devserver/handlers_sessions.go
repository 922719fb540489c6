// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// recentSessions answers from the list of sessions and the tables of messages. A stock server does not initialise the
// type of a message that it cannot read. The session has the type of the session before, and id 0. The first session
// has none before it, and is left out.
func (d *dbproxy) recentSessions(body []byte) (call, error) {
	m, err := parse[wire.IMRecentContactSessionReq](body)
	if err != nil {
		return call{}, err
	}
	about := fault.Request{From: m.GetUserId(), To: []uint32{m.GetUserId()}}
	return call{about: about, answer: wire.CommandRecentSessionsRsp, run: func(how manner) (proto.Message, error) {
		answer := &wire.IMRecentContactSessionRsp{UserId: m.UserId, AttachData: m.AttachData}
		if how.empty() {
			return answer, nil
		}
		sessions, err := d.store.RecentSessions(m.GetUserId(), m.GetLatestUpdateTime(), how.view)
		var lastType wire.MsgType
		for _, r := range sessions {
			from := r.ID // the peer, even if the user wrote it
			latest := r.Latest
			if latest == nil && lastType == 0 {
				continue
			}
			if latest == nil {
				latest = &store.Message{Type: lastType, Content: []byte{}}
			}
			if r.Session.Kind == wire.SessionType_SESSION_TYPE_GROUP {
				from = latest.From
			}
			lastType = latest.Type
			answer.ContactSessionList = append(answer.ContactSessionList, &wire.ContactSessionInfo{
				SessionId: proto.Uint32(r.ID), SessionType: r.Session.Kind.Enum(),
				SessionStatus: wire.SessionStatusType_SESSION_STATUS_OK.Enum(), UpdatedTime: proto.Uint32(r.Updated),
				LatestMsgId: proto.Uint32(latest.MsgID), LatestMsgData: d.latestData(latest),
				LatestMsgType: latest.Type.Enum(), LatestMsgFromUserId: proto.Uint32(from),
			})
		}
		return answer, err
	}}, nil
}

// latestData returns the text of a message in lists of sessions.
func (d *dbproxy) latestData(m *store.Message) []byte {
	if m.Type.Audio() && m.MsgID != 0 {
		return d.audioText
	}
	return m.Content
}

func (d *dbproxy) unread(body []byte) (call, error) {
	m, err := parse[wire.IMUnreadMsgCntReq](body)
	if err != nil {
		return call{}, err
	}
	about := fault.Request{From: m.GetUserId(), To: []uint32{m.GetUserId()}}
	return call{about: about, answer: wire.CommandUnreadCntRsp, run: func(how manner) (proto.Message, error) {
		answer := &wire.IMUnreadMsgCntRsp{UserId: m.UserId, AttachData: m.AttachData}
		var total uint32
		if !how.empty() {
			sessions, err := d.store.Unread(m.GetUserId(), how.view)
			if err != nil {
				return nil, err
			}
			for _, u := range sessions {
				total += u.Count
				answer.UnreadinfoList = append(answer.UnreadinfoList, &wire.UnreadInfo{
					SessionId: proto.Uint32(u.ID), SessionType: u.Session.Enum(), UnreadCnt: proto.Uint32(u.Count),
					LatestMsgId: proto.Uint32(u.Latest.MsgID), LatestMsgData: d.latestData(&u.Latest),
					LatestMsgType: u.Latest.Type.Enum(), LatestMsgFromUserId: proto.Uint32(u.Latest.From),
				})
			}
		}
		answer.TotalCnt = proto.Uint32(total)
		return answer, nil
	}}, nil
}
