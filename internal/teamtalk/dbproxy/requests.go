package dbproxy

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxIDs is how many rows db_proxy returns for one request by id.
	maxIDs = 100
	// sendingID stands in for the id of a message that has none yet.
	sendingID = 1
)

// Session is a conversation as one of its users sees it.
type Session struct {
	Type wire.SessionType
	// UserID is who asks: our sender.
	UserID uint32
	// ID is the peer user, or the group.
	ID uint32
}

// Message is one message to be stored, or routed.
type Message struct {
	// From is the sender's user id; To the recipient's, or the group's, as Type
	// says.
	From, To uint32
	// CreateTime in unix seconds; db_proxy keeps it as it is.
	CreateTime uint32
	Type       wire.MsgType
	// Data is a text's ciphertext, or raw audio.
	Data []byte
}

// Wire returns the message as IMMsgData, under the id given and with
// attach_data where attach is not nil.
func (m Message) Wire(msgID uint32, attach []byte) *wire.IMMsgData {
	return &wire.IMMsgData{
		FromUserId:  &m.From,
		ToSessionId: &m.To,
		MsgId:       &msgID,
		CreateTime:  &m.CreateTime,
		MsgType:     &m.Type,
		MsgData:     m.data(),
		AttachData:  attach,
	}
}

// data returns Data, never nil: the field is required, and nil would be absent.
func (m Message) data() []byte {
	if m.Data == nil {
		return []byte{}
	}
	return m.Data
}

// Users returns the records of the users that exist, by id. An empty result
// proves nothing: db_proxy answers so when its database fails. All ids go into
// one request, so that those present vouch for those missing.
func (c *Client) Users(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	return c.anyPath().Users(ctx, asker, ids)
}

// Users is Client.Users over this path.
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

// Groups returns the groups that exist, with their members, by id. An empty
// result, or an empty list of members, proves nothing: db_proxy answers so when
// its cache fails.
func (c *Client) Groups(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.GroupInfo, error) {
	return c.anyPath().Groups(ctx, asker, ids)
}

// Groups is Client.Groups over this path.
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

// Send asks db_proxy to store m and returns the id in its answer. 0 means that
// nothing was stored, wire.MsgIDUnknown that nobody knows. Any other id may
// still stand for a message that was not stored. db_proxy keeps no id of the
// caller's: sending twice stores twice.
//
// Where no answer comes in time, Send returns ErrNoAnswer only after it has ended
// the connection, so that db_proxy may execute the request no more than its
// settle time later. The connection's other requests are answered first.
//
// It waits for its turn among the requests in flight, and for the connection to take
// it, until queue is done, and then returns ErrNotSent; ctx is for what comes after.
func (c *Client) Send(ctx, queue context.Context, m Message) (msgID uint32, err error) {
	return c.SendLatest(ctx, queue, m.Type, func() (Message, bool) { return m, true })
}

// SendLatest is Send of a message of the type given that is built once it has its
// turn, so that no key has been replaced and no time has passed since. Where build
// says that there is none, SendLatest returns ErrNotSent.
func (c *Client) SendLatest(ctx, queue context.Context, kind wire.MsgType, build func() (Message, bool)) (msgID uint32, err error) {
	var m Message
	answer := &wire.IMMsgData{}
	err = c.anyPath().do(ctx, exchange{
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

// List returns the newest count messages of the session, newest first by
// create_time; ids may be in another order. An empty list proves nothing:
// db_proxy answers so when its database fails.
func (c *Client) List(ctx context.Context, s Session, count uint32) ([]*wire.MsgInfo, error) {
	return c.anyPath().List(ctx, s, count)
}

// List is Client.List over this path.
func (p *Path) List(ctx context.Context, s Session, count uint32) ([]*wire.MsgInfo, error) {
	x, answer := listing(s, count)
	if err := p.do(ctx, x); err != nil {
		return nil, err
	}
	return answer.GetMsgList(), nil
}

// listing asks for the newest count messages of the session.
func listing(s Session, count uint32) (exchange, *wire.IMGetMsgListRsp) {
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

// ByID returns those of the session's messages that are stored under the ids.
// More than 100 ids take more than one request, one after the other. An empty
// result proves nothing: db_proxy answers so when its database fails.
func (c *Client) ByID(ctx context.Context, s Session, ids []uint32) ([]*wire.MsgInfo, error) {
	return c.anyPath().ByID(ctx, s, ids)
}

// ByID is Client.ByID over this path.
func (p *Path) ByID(ctx context.Context, s Session, ids []uint32) ([]*wire.MsgInfo, error) {
	var found []*wire.MsgInfo
	for len(ids) > 0 {
		part := ids[:min(len(ids), maxIDs)]
		ids = ids[len(part):]
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
					MsgIdList:   part,
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

// LatestID returns the id of the session's newest message by create_time, or 0
// if it has none. It does not regard when the asker joined a group. 0 proves
// nothing: db_proxy answers so when its database fails.
func (c *Client) LatestID(ctx context.Context, s Session) (uint32, error) {
	return c.anyPath().LatestID(ctx, s)
}

// LatestID is Client.LatestID over this path.
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

// echoed reports whether an answer is about s.
func (s Session) echoed(answer interface {
	GetUserId() uint32
	GetSessionType() wire.SessionType
	GetSessionId() uint32
}) bool {
	return answer.GetUserId() == s.UserID && answer.GetSessionType() == s.Type && answer.GetSessionId() == s.ID
}
