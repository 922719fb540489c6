// SPDX-License-Identifier: Apache-2.0

package router

import "github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"

// Read is a read notify: a user has read a conversation up to a message. Several routers may relay the same one.
type Read struct {
	// User is the reader.
	User uint32
	// Session is the other user, or the group.
	Session uint32
	Group   bool
	// UpTo is the id of the last message that the user has read.
	UpTo uint32
}

// parseRead parses the body of a read notify. It returns false if the body is invalid. Like a stock server, it
// rejects unknown session types.
func parseRead(body []byte) (Read, bool) {
	m := &wire.IMMsgDataReadNotify{}
	if wire.Unmarshal(body, m, 0) != nil {
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
