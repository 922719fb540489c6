// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxIDs is the highest number of rows in an answer to a request by id.
	maxIDs = 100
	// sendingID is the id in requests to store a message.
	sendingID = 1
)

// Session is the conversation of a user.
type Session struct {
	Type wire.SessionType
	// UserID is the user who asks: the sender.
	UserID uint32
	// ID is the other user, or the group.
	ID uint32
}

// Message is a message to store or to route.
type Message struct {
	// From is the sender. To is a user or a group, depending on Type.
	From, To uint32
	// CreateTime in Unix seconds. db_proxy stores it unchanged.
	CreateTime uint32
	Type       wire.MsgType
	// Data is the ciphertext of a text, or raw audio.
	Data []byte
}

// Wire returns the message as IMMsgData with the id, and with attach_data unless attach is nil.
func (m Message) Wire(msgID uint32, attach []byte) *wire.IMMsgData {
	if m.Data == nil {
		m.Data = []byte{} // the field is required
	}
	return &wire.IMMsgData{
		FromUserId:  &m.From,
		ToSessionId: &m.To,
		MsgId:       &msgID,
		CreateTime:  &m.CreateTime,
		MsgType:     &m.Type,
		MsgData:     m.Data,
		AttachData:  attach,
	}
}

// Users returns the users that exist, by id. An empty result proves nothing: db_proxy returns it if its
// database fails. All ids are in one request, so that the users found prove that the others do
// not exist.
func (p *Path) Users(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	if len(ids) == 0 {
		return map[uint32]*wire.UserInfo{}, nil
	}
	answer := &wire.IMUsersInfoRsp{}
	err := p.do(ctx, exchange{
		request:  wire.CommandUsersInfoReq,
		response: wire.CommandUsersInfoRsp,
		body: func(attach []byte) proto.Message {
			return &wire.IMUsersInfoReq{UserId: &asker, UserIdList: ids, AttachData: attach}
		},
		answer:  answer,
		matches: func() bool { return answer.GetUserId() == asker },
	})
	if err != nil {
		return nil, err
	}
	users := make(map[uint32]*wire.UserInfo, len(answer.GetUserInfoList()))
	for _, u := range answer.GetUserInfoList() {
		users[u.GetUserId()] = u
	}
	return users, nil
}

// Groups returns the groups that exist, with their members, by id. An empty result, or a group without
// members, proves nothing: db_proxy returns it if its cache fails.
func (p *Path) Groups(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.GroupInfo, error) {
	if len(ids) == 0 {
		return map[uint32]*wire.GroupInfo{}, nil
	}
	answer := &wire.IMGroupInfoListRsp{}
	err := p.do(ctx, exchange{
		request:  wire.CommandGroupInfoReq,
		response: wire.CommandGroupInfoRsp,
		group:    true,
		body: func(attach []byte) proto.Message {
			req := &wire.IMGroupInfoListReq{UserId: &asker, AttachData: attach}
			for _, id := range ids {
				req.GroupVersionList = append(req.GroupVersionList,
					&wire.GroupVersionInfo{GroupId: proto.Uint32(id), Version: proto.Uint32(0)})
			}
			return req
		},
		answer:  answer,
		matches: func() bool { return answer.GetUserId() == asker },
	})
	if err != nil {
		return nil, err
	}
	groups := make(map[uint32]*wire.GroupInfo, len(answer.GetGroupInfoList()))
	for _, g := range answer.GetGroupInfoList() {
		groups[g.GetGroupId()] = g
	}
	return groups, nil
}

// Send is SendLatest of a message that is known.
func (c *Client) Send(ctx, queue context.Context, m Message) (msgID uint32, err error) {
	return c.SendLatest(ctx, queue, m.Type, func() (Message, bool) { return m, true })
}

// SendLatest asks db_proxy to store a message and returns the id of its answer. 0 means that nothing was
// stored, wire.MsgIDUnknown that the outcome is unknown. A message with another id may not be
// stored either. db_proxy does not deduplicate: sending twice stores twice.
//
// build is called when the request leaves the queue, so that the message has the current key and time.
// If it returns false, SendLatest returns ErrNotSent.
//
// If no answer arrives in time, SendLatest closes the connection, after the other requests on it, and
// then returns ErrNoAnswer: db_proxy may execute the request for its settle time at most.
//
// queue bounds the wait for the limiter and the writer. After that, ctx applies.
func (c *Client) SendLatest(ctx, queue context.Context, kind wire.MsgType, build func() (Message, bool)) (
	uint32, error,
) {
	var m Message
	answer := &wire.IMMsgData{}
	err := c.do(ctx, exchange{
		queue:    queue,
		request:  wire.CommandMsgData,
		response: wire.CommandMsgData,
		group:    kind.SessionType() == wire.SessionType_SESSION_TYPE_GROUP,
		stores:   true,
		body: func(attach []byte) proto.Message {
			built, ok := build()
			if !ok {
				return nil
			}
			m = built
			return m.Wire(sendingID, attach)
		},
		answer: answer,
		matches: func() bool {
			return answer.GetFromUserId() == m.From && answer.GetToSessionId() == m.To
		},
	})
	if err != nil {
		return 0, err
	}
	return answer.GetMsgId(), nil
}

// List returns the newest count messages of the session, newest first by create_time; their ids may be in
// another order. An empty result proves nothing: db_proxy returns it if its database fails.
func (p *Path) List(ctx context.Context, s Session, count uint32) ([]*wire.MsgInfo, error) {
	x, answer := listExchange(s, count)
	if err := p.do(ctx, x); err != nil {
		return nil, err
	}
	return answer.GetMsgList(), nil
}

// listExchange is the exchange of List, and the message that it fills.
func listExchange(s Session, count uint32) (exchange, *wire.IMGetMsgListRsp) {
	answer := &wire.IMGetMsgListRsp{}
	return exchange{
		request:  wire.CommandMsgListReq,
		response: wire.CommandMsgListRsp,
		group:    s.group(),
		body: func(attach []byte) proto.Message {
			return &wire.IMGetMsgListReq{
				UserId:      &s.UserID,
				SessionType: &s.Type,
				SessionId:   &s.ID,
				MsgIdBegin:  proto.Uint32(0),
				MsgCnt:      &count,
				AttachData:  attach,
			}
		},
		answer:  answer,
		matches: func() bool { return s.echoed(answer) },
	}, answer
}

// ByID returns the messages of the session with the ids, in one request for each 100 ids. An empty result
// proves nothing: db_proxy returns it if its database fails.
func (p *Path) ByID(ctx context.Context, s Session, ids []uint32) ([]*wire.MsgInfo, error) {
	var found []*wire.MsgInfo
	for len(ids) > 0 {
		chunk := ids[:min(len(ids), maxIDs)]
		ids = ids[len(chunk):]
		answer := &wire.IMGetMsgByIdRsp{}
		err := p.do(ctx, exchange{
			request:  wire.CommandMsgByIDReq,
			response: wire.CommandMsgByIDRsp,
			group:    s.group(),
			body: func(attach []byte) proto.Message {
				return &wire.IMGetMsgByIdReq{
					UserId:      &s.UserID,
					SessionType: &s.Type,
					SessionId:   &s.ID,
					MsgIdList:   chunk,
					AttachData:  attach,
				}
			},
			answer:  answer,
			matches: func() bool { return s.echoed(answer) },
		})
		if err != nil {
			return nil, err
		}
		found = append(found, answer.GetMsgList()...)
	}
	return found, nil
}

// LatestID returns the id of the newest message of the session by create_time, or 0. It ignores when the
// user joined a group. 0 proves nothing: db_proxy returns it if its database fails.
func (p *Path) LatestID(ctx context.Context, s Session) (uint32, error) {
	answer := &wire.IMGetLatestMsgIdRsp{}
	err := p.do(ctx, exchange{
		request:  wire.CommandLatestMsgIDReq,
		response: wire.CommandLatestMsgIDRsp,
		group:    s.group(),
		body: func(attach []byte) proto.Message {
			return &wire.IMGetLatestMsgIdReq{UserId: &s.UserID, SessionType: &s.Type, SessionId: &s.ID, AttachData: attach}
		},
		answer:  answer,
		matches: func() bool { return s.echoed(answer) },
	})
	return answer.GetLatestMsgId(), err
}

func (s Session) group() bool { return s.Type == wire.SessionType_SESSION_TYPE_GROUP }

// echoed reports whether the answer is about s.
func (s Session) echoed(answer interface {
	GetUserId() uint32
	GetSessionType() wire.SessionType
	GetSessionId() uint32
}) bool {
	return answer.GetUserId() == s.UserID && answer.GetSessionType() == s.Type && answer.GetSessionId() == s.ID
}
