// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Service is the service id of a PDU. Servers ignore it and dispatch on the command id.
type Service uint16

// Services, with TeamTalk's numbers.
const (
	ServiceLogin   Service = 1
	ServiceBuddy   Service = 2
	ServiceMessage Service = 3
	ServiceGroup   Service = 4
	ServiceFile    Service = 5
	ServiceSwitch  Service = 6
	ServiceOther   Service = 7
)

// Command is the command id of a PDU. Its high byte is the service.
type Command uint16

// Commands that this project speaks, with TeamTalk's numbers.
const (
	CommandRecentSessionsReq Command = 0x0201
	CommandRecentSessionsRsp Command = 0x0202
	CommandUsersInfoReq      Command = 0x0204
	CommandUsersInfoRsp      Command = 0x0205
	CommandAllUsersReq       Command = 0x0208
	CommandAllUsersRsp       Command = 0x0209
	CommandUsersStatReq      Command = 0x020a
	CommandUsersStatRsp      Command = 0x020b

	CommandMsgData        Command = 0x0301
	CommandMsgReadAck     Command = 0x0303
	CommandMsgReadNotify  Command = 0x0304
	CommandUnreadCntReq   Command = 0x0307
	CommandUnreadCntRsp   Command = 0x0308
	CommandMsgListReq     Command = 0x0309
	CommandMsgListRsp     Command = 0x030a
	CommandLatestMsgIDReq Command = 0x030b
	CommandLatestMsgIDRsp Command = 0x030c
	CommandMsgByIDReq     Command = 0x030d
	CommandMsgByIDRsp     Command = 0x030e

	CommandUserGroupsReq     Command = 0x0401
	CommandUserGroupsRsp     Command = 0x0402
	CommandGroupInfoReq      Command = 0x0403
	CommandGroupInfoRsp      Command = 0x0404
	CommandGroupCreateReq    Command = 0x0405
	CommandGroupCreateRsp    Command = 0x0406
	CommandGroupChangeReq    Command = 0x0407
	CommandGroupChangeRsp    Command = 0x0408
	CommandGroupChangeNotify Command = 0x040b

	CommandHeartBeat     Command = 0x0701
	CommandStopReceiving Command = 0x0702
)

// Service returns the service of the command.
func (c Command) Service() Service { return Service(c >> 8) }

// Answer returns the command of db_proxy's answer to the command.
func (c Command) Answer() Command {
	if c == CommandMsgData {
		return c
	}
	return c + 1
}

// UserStatusDeparted is the status of users who have left TeamTalk.
const UserStatusDeparted uint32 = 3

// MsgIDUnknown is the id in an answer after a failure of db_proxy's counter. The message may be stored.
const MsgIDUnknown uint32 = 0xFFFFFFFF

// Audio reports whether the type is raw audio, not ciphertext.
func (t MsgType) Audio() bool {
	return t == MsgType_MSG_TYPE_SINGLE_AUDIO || t == MsgType_MSG_TYPE_GROUP_AUDIO
}

// SessionType returns the type of the sessions of such messages.
func (t MsgType) SessionType() SessionType {
	if t == MsgType_MSG_TYPE_GROUP_TEXT || t == MsgType_MSG_TYPE_GROUP_AUDIO {
		return SessionType_SESSION_TYPE_GROUP
	}
	return SessionType_SESSION_TYPE_SINGLE
}

var (
	errMalformed = errors.New("malformed message")
	errTooMany   = errors.New("too many elements")
)

// maxDepth is how deep TeamTalk's messages are nested.
const maxDepth = 2

// Unmarshal parses a message from a server, which may be hostile. The repeated field of messages may have up to limit
// elements: otherwise two bytes could take hundreds. Unknown fields are dropped. Without the elements, the parsed
// message takes at most a few times the length of b.
func Unmarshal(b []byte, m proto.Message, limit int) error {
	if err := checkFields(b, m.ProtoReflect().Descriptor(), limit); err != nil {
		return err
	}
	return proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: maxDepth}.Unmarshal(b, m)
}

// checkFields checks what Unmarshal limits, before anything is allocated.
func checkFields(b []byte, d protoreflect.MessageDescriptor, limit int) error {
	elements := 0
	for len(b) > 0 {
		number, kind, tag := protowire.ConsumeTag(b)
		// TeamTalk has no groups. They may be nested, each takes stack, and unknown ones are followed as well.
		if tag < 0 || kind == protowire.StartGroupType {
			return errMalformed
		}
		length := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if length < 0 {
			return errMalformed
		}
		f := d.Fields().ByNumber(number)
		if f != nil && f.Message() != nil && kind == protowire.BytesType {
			if elements++; f.IsList() && elements > limit {
				return errTooMany
			}
			value, _ := protowire.ConsumeBytes(b[tag:])
			if err := checkFields(value, f.Message(), limit); err != nil {
				return err
			}
		}
		b = b[tag+length:]
	}
	return nil
}
