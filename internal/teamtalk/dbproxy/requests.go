// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxIDs is the highest number of rows in an answer to a request by id.
	maxIDs = 100
	// maxSessions is how many sessions db_proxy returns at most.
	maxSessions = 100
	// userLen is more than a user takes, in bytes: the columns of stock TeamTalk have about 600 characters.
	userLen = 4 << 10
	// maxLogin is longer, in bytes, than any name in the API.
	maxLogin = 1 << 10
	// groupLen is enough for a group of 10,000 members, in bytes; groupsLen for one of 80,000. All groups of an answer
	// have up to maxAnswer.
	groupLen, groupsLen = 64 << 10, 512 << 10
	// maxUnread is how many sessions with unread messages a user may have. An answer with more is not accepted.
	maxUnread = 800
	// textLen is more than a row takes, in bytes, which is not audio.
	textLen = 5 << 10
	// sendingID is the id in requests to store a message.
	sendingID = 1
	// dataField is the field number of a message's data, which the answer repeats.
	dataField = 6
)

// Session is the conversation of a user.
type Session struct {
	Type wire.SessionType
	// UserID is the requesting user: the sender.
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

// Wire returns the message as IMMsgData with the id.
func (m Message) Wire(msgID uint32) *wire.IMMsgData {
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
	}
}

// Users returns the users that exist, by id. An empty result proves nothing: db_proxy returns it if its
// database fails. All ids are in one request, so that the users found prove that the others do
// not exist. Of a user, only the id, the login name and the status are kept.
func (p *Path) Users(ctx context.Context, requester uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	var answer *wire.IMUsersInfoRsp
	return lookUp(ctx, p, ids, func() *exchange {
		answer = &wire.IMUsersInfoRsp{}
		return &exchange{
			request: wire.CommandUsersInfoReq,
			message: &wire.IMUsersInfoReq{UserId: &requester, UserIdList: ids},
			answer:  answer,
			matches: func() bool { return answer.GetUserId() == requester },
			limit:   maxRest + len(ids)*userLen,
			rows:    len(ids),
			reduce:  keepLogin,
		}
	}, func() []*wire.UserInfo { return answer.GetUserInfoList() }, (*wire.UserInfo).GetUserId)
}

// keepLogin drops from an answer about users all but their ids, login names and status.
func keepLogin(answer proto.Message) {
	for _, u := range answer.(*wire.IMUsersInfoRsp).GetUserInfoList() {
		id, name, status := u.GetUserId(), u.GetUserRealName(), u.GetStatus()
		proto.Reset(u)
		u.UserId, u.Status = &id, &status
		if name != "" && len(name) <= maxLogin {
			u.UserRealName = &name
		}
	}
}

// Groups returns the groups that exist, with their members, by id. An empty result, or a group without members, proves
// nothing: db_proxy returns it if its cache fails. reduce, if not nil, drops unneeded parts of a group: all members
// take far more memory than the caller may hold for a long time. It may be called for more than one answer, on any
// goroutine.
func (p *Path) Groups(ctx context.Context, requester uint32, ids []uint32, reduce func(*wire.GroupInfo)) (
	map[uint32]*wire.GroupInfo, error,
) {
	req := &wire.IMGroupInfoListReq{UserId: &requester}
	for _, id := range ids {
		version := &wire.GroupVersionInfo{GroupId: proto.Uint32(id), Version: proto.Uint32(0)}
		req.GroupVersionList = append(req.GroupVersionList, version)
	}
	var answer *wire.IMGroupInfoListRsp
	return lookUp(ctx, p, ids, func() *exchange {
		answer = &wire.IMGroupInfoListRsp{}
		return &exchange{
			request: wire.CommandGroupInfoReq,
			group:   true,
			message: req,
			answer:  answer,
			matches: func() bool { return answer.GetUserId() == requester },
			limit:   groupsLen + len(ids)*groupLen,
			rows:    len(ids),
			reduce: func(answer proto.Message) {
				for _, g := range answer.(*wire.IMGroupInfoListRsp).GetGroupInfoList() {
					if reduce != nil {
						reduce(g)
					}
				}
			},
		}
	}, func() []*wire.GroupInfo { return answer.GetGroupInfoList() }, (*wire.GroupInfo).GetGroupId)
}

// lookUp returns the rows of the answer to a read by id. It sends nothing if there are no ids to ask for.
func lookUp[R any](
	ctx context.Context, p *Path, ids []uint32, build func() *exchange, rows func() []*R, id func(*R) uint32,
) (map[uint32]*R, error) {
	found := make(map[uint32]*R, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	if err := p.read(ctx, build); err != nil {
		return nil, err
	}
	for _, row := range rows() {
		found[id(row)] = row
	}
	return found, nil
}

// Send is SendLatest for a message that is already built.
func (c *Client) Send(ctx, queue context.Context, m Message) (msgID uint32, err error) {
	return c.SendLatest(ctx, queue, m.Type, Sending{Build: func() (Message, bool) { return m, true }})
}

// Sending holds the callbacks of a send. They must not block.
type Sending struct {
	// Build is called when the request leaves the queue, so that the message has the current key and time. If it returns
	// false, SendLatest returns ErrNotSent.
	Build func() (Message, bool)
	// Queued, if not nil, is called if db_proxy has too many requests in flight to send this one at once.
	Queued func()
	// Late, if not nil, is called once if the answer does not come in the usual time.
	Late func()
}

// SendLatest asks db_proxy to store a message and returns the id of its answer. 0 means that nothing was
// stored, wire.MsgIDUnknown that the outcome is unknown. A message with another id may not be
// stored either. db_proxy does not deduplicate: sending twice stores twice.
//
// If no answer arrives in time, SendLatest waits for the other requests on the connection, closes it, and returns
// ErrNoAnswer. db_proxy may execute the request for its settle time at most.
//
// queue bounds the wait for the limiter and the writer. After that, ctx applies.
func (c *Client) SendLatest(ctx, queue context.Context, kind wire.MsgType, sending Sending) (uint32, error) {
	var m Message
	answer := &wire.IMMsgData{}
	err := c.do(ctx, &exchange{
		queue:   queue,
		request: wire.CommandMsgData,
		group:   kind.SessionType() == wire.SessionType_SESSION_TYPE_GROUP,
		stores:  true,
		queued:  sending.Queued,
		late:    sending.Late,
		build: func() proto.Message {
			var ok bool
			if m, ok = sending.Build(); !ok {
				return nil
			}
			return m.Wire(sendingID)
		},
		answer:  answer,
		matches: func() bool { return answer.GetFromUserId() == m.From && answer.GetToSessionId() == m.To },
		unused:  dataField,
	})
	if err != nil {
		return 0, err
	}
	return answer.GetMsgId(), nil
}

// List returns the newest count messages of the session, newest first by create_time; their ids may be in
// another order. An empty result proves nothing: db_proxy returns it if its database fails.
func (p *Path) List(ctx context.Context, s Session, count uint32) ([]*wire.MsgInfo, error) {
	list := &listScanner{}
	if err := p.Scan(ctx, s, count, list); err != nil {
		return nil, err
	}
	return list.rows, nil
}

// listScanner keeps all rows.
type listScanner struct{ rows []*wire.MsgInfo }

// Begin implements Scanner.
func (l *listScanner) Begin() { l.rows = nil }

// Row implements Scanner.
func (l *listScanner) Row(r *wire.MsgInfo) { l.rows = append(l.rows, r) }

// list is the exchange of Scan.
func (s Session) list(count uint32, answer *wire.IMGetMsgListRsp) *exchange {
	x := s.exchange(wire.CommandMsgListReq, &wire.IMGetMsgListReq{
		UserId: &s.UserID, SessionType: &s.Type, SessionId: &s.ID, MsgIdBegin: proto.Uint32(0), MsgCnt: &count,
	}, answer)
	x.rows = int(count)
	return x
}

// ByID returns the messages of the session with the ids, in one request for each 100 ids. An empty result
// proves nothing: db_proxy returns it if its database fails.
func (p *Path) ByID(ctx context.Context, s Session, ids []uint32) ([]*wire.MsgInfo, error) {
	var found []*wire.MsgInfo
	for chunk := range slices.Chunk(ids, maxIDs) {
		var answer *wire.IMGetMsgByIdRsp
		if err := p.read(ctx, func() *exchange {
			answer = &wire.IMGetMsgByIdRsp{}
			x := s.exchange(wire.CommandMsgByIDReq, &wire.IMGetMsgByIdReq{
				UserId: &s.UserID, SessionType: &s.Type, SessionId: &s.ID, MsgIdList: chunk,
			}, answer)
			// One of them may be audio.
			x.limit, x.rows = pdu.MaxToClients+len(chunk)*textLen, len(chunk)
			return x
		}); err != nil {
			return nil, err
		}
		found = append(found, answer.GetMsgList()...)
	}
	return found, nil
}

// LatestID returns the id of the newest message of the session by create_time, or 0. It ignores when the
// user joined a group. 0 proves nothing: db_proxy returns it if its database fails.
func (p *Path) LatestID(ctx context.Context, s Session) (uint32, error) {
	var answer *wire.IMGetLatestMsgIdRsp
	err := p.read(ctx, func() *exchange {
		answer = &wire.IMGetLatestMsgIdRsp{}
		return s.exchange(wire.CommandLatestMsgIDReq, &wire.IMGetLatestMsgIdReq{
			UserId: &s.UserID, SessionType: &s.Type, SessionId: &s.ID,
		}, answer)
	})
	if err != nil {
		return 0, err
	}
	return answer.GetLatestMsgId(), nil
}

// RecentSessions returns the user's newest 100 sessions. db_proxy reads the latest id of each from the tables of
// messages: 0, or no session, where it could not. An empty result proves nothing. The latest messages are dropped.
func (p *Path) RecentSessions(ctx context.Context, user uint32) ([]*wire.ContactSessionInfo, error) {
	answer := &wire.IMRecentContactSessionRsp{}
	err := p.do(ctx, &exchange{
		request: wire.CommandRecentSessionsReq,
		message: &wire.IMRecentContactSessionReq{UserId: &user, LatestUpdateTime: proto.Uint32(0)},
		answer:  answer,
		matches: func() bool { return answer.GetUserId() == user },
		limit:   maxRest + maxSessions*textLen,
		rows:    maxSessions,
		reduce: func(answer proto.Message) {
			for _, s := range answer.(*wire.IMRecentContactSessionRsp).GetContactSessionList() {
				s.LatestMsgData = nil
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return answer.GetContactSessionList(), nil
}

// Unread returns the user's sessions with unread messages. db_proxy leaves out sessions that it cannot read: only
// returned sessions prove something. The latest messages are dropped.
func (p *Path) Unread(ctx context.Context, user uint32) ([]*wire.UnreadInfo, error) {
	answer := &wire.IMUnreadMsgCntRsp{}
	err := p.do(ctx, &exchange{
		request: wire.CommandUnreadCntReq,
		message: &wire.IMUnreadMsgCntReq{UserId: &user},
		answer:  answer,
		matches: func() bool { return answer.GetUserId() == user },
		limit:   maxUnread*textLen + maxRest,
		rows:    maxUnread,
		reduce: func(answer proto.Message) {
			for _, s := range answer.(*wire.IMUnreadMsgCntRsp).GetUnreadinfoList() {
				s.LatestMsgData = nil
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return answer.GetUnreadinfoList(), nil
}

// sessionAnswer is an answer about a session.
type sessionAnswer interface {
	proto.Message
	GetUserId() uint32
	GetSessionType() wire.SessionType
	GetSessionId() uint32
}

// exchange returns the exchange for a request about s.
func (s Session) exchange(request wire.Command, message proto.Message, answer sessionAnswer) *exchange {
	return &exchange{
		request: request,
		group:   s.Type == wire.SessionType_SESSION_TYPE_GROUP,
		message: message,
		answer:  answer,
		matches: func() bool { return s.echoed(answer) },
	}
}

// echoed reports whether the answer is about s.
func (s Session) echoed(answer sessionAnswer) bool {
	return answer.GetUserId() == s.UserID && answer.GetSessionType() == s.Type && answer.GetSessionId() == s.ID
}
