package router

import (
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Read is what a user has read: a conversation up to a message. Message servers
// speak through one router and listen to all, so that several may relay the same.
type Read struct {
	// User is who has read.
	User uint32
	// Session is the user at the other end, or the group.
	Session uint32
	Group   bool
	// UpTo is the id of the last message that has been read.
	UpTo uint32
}

// parseRead returns what the body of a read notify says; false: it is none. As a
// stock server does, it takes a kind of session that there is none of for unreadable.
func parseRead(body []byte) (Read, bool) {
	m := &wire.IMMsgDataReadNotify{}
	if proto.Unmarshal(body, m) != nil {
		return Read{}, false
	}
	r := Read{User: m.GetUserId(), Session: m.GetSessionId(), UpTo: m.GetMsgId()}
	switch m.GetSessionType() {
	case wire.SessionType_SESSION_TYPE_SINGLE:
	case wire.SessionType_SESSION_TYPE_GROUP:
		r.Group = true
	default:
		return Read{}, false
	}
	return r, true
}
