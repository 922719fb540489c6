// Package wire holds TeamTalk's internal protobuf messages (proto2) and the
// ids of the commands that carry them. Field numbers and types are TeamTalk's
// own; the .proto files in proto/ document what its servers do with them.
//
// An enum value that TeamTalk does not know is kept by Go's protobuf, as the
// number it is, even in a required field. TeamTalk's servers take the whole
// message for unparsable; whoever must behave like them checks for it.
package wire

// Service is a PDU's service id. Servers dispatch on the command id alone; the
// service id is sent as they expect it.
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

// Command is a PDU's command id; its high byte is the service it belongs to.
type Command uint16

// Commands that this project speaks, with TeamTalk's numbers.
const (
	CommandUsersInfoReq Command = 0x0204
	CommandUsersInfoRsp Command = 0x0205
	CommandUsersStatReq Command = 0x020a
	CommandUsersStatRsp Command = 0x020b

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

// Service returns the service that the command belongs to.
func (c Command) Service() Service { return Service(c >> 8) }

// MsgIDUnknown is the id in an answer whose counter failed: whether a row was
// stored is not known.
const MsgIDUnknown uint32 = 0xFFFFFFFF

// Audio reports whether the type carries raw audio rather than cipher text.
func (t MsgType) Audio() bool {
	return t == MsgType_MSG_TYPE_SINGLE_AUDIO || t == MsgType_MSG_TYPE_GROUP_AUDIO
}

// SessionType returns the kind of session that messages of this type go to.
func (t MsgType) SessionType() SessionType {
	if t == MsgType_MSG_TYPE_GROUP_TEXT || t == MsgType_MSG_TYPE_GROUP_AUDIO {
		return SessionType_SESSION_TYPE_GROUP
	}
	return SessionType_SESSION_TYPE_SINGLE
}
