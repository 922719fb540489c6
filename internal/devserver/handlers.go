// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// handler parses a request.
type handler func(body []byte) (call, error)

// call is a parsed request.
type call struct {
	// about holds the properties by which faults are selected.
	about fault.Request
	// group is the group whose members or history are read; 0 for none.
	group  uint32
	answer wire.Command
	// run executes the request; a nil message is not sent.
	run func(manner) (proto.Message, error)
}

// manner is how a request is executed under faults.
type manner struct {
	effect     fault.Fault
	groupEmpty bool
	view       store.View
}

// empty reports whether a read shall find nothing.
func (m manner) empty() bool { return m.effect.Kind == fault.EmptyList || m.groupEmpty }

func (d *dbproxy) commands() map[wire.Command]handler {
	return map[wire.Command]handler{
		wire.CommandMsgData:           d.send,
		wire.CommandMsgReadAck:        d.readAck,
		wire.CommandRecentSessionsReq: d.recentSessions,
		wire.CommandUnreadCntReq:      d.unread,
		wire.CommandMsgListReq:        d.list,
		wire.CommandLatestMsgIDReq:    d.latestID,
		wire.CommandMsgByIDReq:        d.byID,
		wire.CommandUsersInfoReq:      d.users,
		wire.CommandAllUsersReq:       d.allUsers,
		wire.CommandUserGroupsReq:     d.groupsOf,
		wire.CommandGroupInfoReq:      d.groups,
		wire.CommandGroupCreateReq:    d.createGroup,
		wire.CommandGroupChangeReq:    d.changeGroup,
	}
}

// parse unmarshals a request as a stock server does. There, an unknown value of an enum counts as absent, and a message
// without a required field cannot be parsed. Go keeps such values.
func parse[T any, M interface {
	*T
	proto.Message
}](body []byte) (M, error) {
	m := M(new(T))
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, err
	}
	var err error
	m.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Kind() == protoreflect.EnumKind && field.Enum().Values().ByNumber(value.Enum()) == nil {
			err = fmt.Errorf("%s has no value %d", field.Enum().Name(), value.Enum())
		}
		return err == nil
	})
	return m, err
}

func (d *dbproxy) send(body []byte) (call, error) {
	m, err := parse[wire.IMMsgData](body)
	if err != nil {
		return call{}, err
	}
	from, to, session := m.GetFromUserId(), m.GetToSessionId(), m.GetMsgType().SessionType()
	about := fault.Request{From: from, To: []uint32{to}, Session: session}
	return call{about: about, answer: wire.CommandMsgData, run: func(how manner) (proto.Message, error) {
		// The answer is the request with another id, so it also contains fields that the server does not know.
		m.MsgId = proto.Uint32(0)
		if len(m.GetMsgData()) == 0 {
			return nil, nil
		}
		if session == wire.SessionType_SESSION_TYPE_GROUP {
			d.faults.GroupFilled(to)
		} else if from == to || from == 0 || to == 0 {
			return m, nil
		}
		row := store.Send{From: from, To: to, CreateTime: m.GetCreateTime(), Type: m.GetMsgType(), Content: m.GetMsgData()}
		switch how.effect.Kind {
		case fault.IDZero:
			return m, nil
		case fault.FalseSuccess, fault.CloseBeforeStore:
			row.Discard = true
		case fault.IDUnknown:
			row.Discard, row.KeepID = !how.effect.Store, wire.MsgIDUnknown
		}
		id, answered, err := d.store.Send(row)
		if err != nil || !answered {
			return nil, err
		}
		m.MsgId = proto.Uint32(id)
		return m, nil
	}}, nil
}

func (d *dbproxy) readAck(body []byte) (call, error) {
	m, err := parse[wire.IMMsgDataReadAck](body)
	if err != nil {
		return call{}, err
	}
	about := fault.Request{From: m.GetUserId(), To: []uint32{m.GetSessionId()}, Session: m.GetSessionType()}
	return call{about: about, run: func(manner) (proto.Message, error) {
		return nil, d.store.Read(m.GetUserId(), store.SessionOf(m.GetSessionType(), m.GetUserId(), m.GetSessionId()))
	}}, nil
}

// historyRequest holds the common fields of requests for history.
type historyRequest interface {
	GetUserId() uint32
	GetSessionType() wire.SessionType
	GetSessionId() uint32
}

// history returns the call and the reader of a request for history.
func history(m historyRequest, answer wire.Command) (call, store.Reader) {
	c := call{
		about:  fault.Request{From: m.GetUserId(), To: []uint32{m.GetSessionId()}, Session: m.GetSessionType()},
		answer: answer,
	}
	if m.GetSessionType() == wire.SessionType_SESSION_TYPE_GROUP {
		c.group = m.GetSessionId()
	}
	return c, store.Reader{
		User:    m.GetUserId(),
		Session: store.SessionOf(m.GetSessionType(), m.GetUserId(), m.GetSessionId()),
	}
}

func (d *dbproxy) list(body []byte) (call, error) {
	m, err := parse[wire.IMGetMsgListReq](body)
	if err != nil {
		return call{}, err
	}
	c, reader := history(m, wire.CommandMsgListRsp)
	c.run = func(how manner) (proto.Message, error) {
		answer := &wire.IMGetMsgListRsp{
			UserId: m.UserId, SessionType: m.SessionType, SessionId: m.SessionId,
			MsgIdBegin: m.MsgIdBegin, AttachData: m.AttachData,
		}
		if how.empty() {
			return answer, nil
		}
		reader.View = how.view
		messages, err := d.store.List(reader, m.GetMsgIdBegin(), m.GetMsgCnt())
		answer.MsgList = messageInfos(messages)
		return answer, err
	}
	return c, nil
}

func (d *dbproxy) byID(body []byte) (call, error) {
	m, err := parse[wire.IMGetMsgByIdReq](body)
	if err != nil {
		return call{}, err
	}
	c, reader := history(m, wire.CommandMsgByIDRsp)
	c.run = func(how manner) (proto.Message, error) {
		answer := &wire.IMGetMsgByIdRsp{
			UserId: m.UserId, SessionType: m.SessionType, SessionId: m.SessionId, AttachData: m.AttachData,
		}
		if how.empty() {
			return answer, nil
		}
		reader.View = how.view
		messages, err := d.store.ByID(reader, m.GetMsgIdList())
		answer.MsgList = messageInfos(messages)
		return answer, err
	}
	return c, nil
}

func (d *dbproxy) latestID(body []byte) (call, error) {
	m, err := parse[wire.IMGetLatestMsgIdReq](body)
	if err != nil {
		return call{}, err
	}
	c, reader := history(m, wire.CommandLatestMsgIDRsp)
	c.group = 0 // it reads no membership
	c.run = func(how manner) (proto.Message, error) {
		answer := &wire.IMGetLatestMsgIdRsp{
			UserId: m.UserId, SessionType: m.SessionType, SessionId: m.SessionId,
			LatestMsgId: proto.Uint32(0), AttachData: m.AttachData,
		}
		if how.empty() {
			return answer, nil
		}
		reader.View = how.view
		id, err := d.store.LatestID(reader)
		answer.LatestMsgId = proto.Uint32(id)
		return answer, err
	}
	return c, nil
}

func messageInfos(messages []store.Message) []*wire.MsgInfo {
	var infos []*wire.MsgInfo
	for _, m := range messages {
		infos = append(infos, &wire.MsgInfo{
			MsgId: proto.Uint32(m.MsgID), FromSessionId: proto.Uint32(m.From), CreateTime: proto.Uint32(m.CreateTime),
			MsgType: m.Type.Enum(), MsgData: m.Content,
		})
	}
	return infos
}
