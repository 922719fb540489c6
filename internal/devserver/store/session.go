// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Session is a conversation: a pair of users in either direction, or a group.
type Session struct {
	Kind wire.SessionType
	// Low and High are the users' ids; of a group, Low is its id and High 0.
	Low, High uint32
}

// Single returns the conversation of two users.
func Single(a, b uint32) Session {
	return Session{Kind: wire.SessionType_SESSION_TYPE_SINGLE, Low: min(a, b), High: max(a, b)}
}

// Group returns a group's conversation.
func Group(id uint32) Session {
	return Session{Kind: wire.SessionType_SESSION_TYPE_GROUP, Low: id}
}

// SessionOf returns the conversation that a user names by kind and id.
func SessionOf(kind wire.SessionType, user, id uint32) Session {
	if kind == wire.SessionType_SESSION_TYPE_GROUP {
		return Group(id)
	}
	return Single(user, id)
}

// String returns user:LOW:HIGH or group:ID.
func (s Session) String() string {
	if s.Kind == wire.SessionType_SESSION_TYPE_GROUP {
		return fmt.Sprintf("group:%d", s.Low)
	}
	return fmt.Sprintf("user:%d:%d", s.Low, s.High)
}

// ParseSession reads what String writes; users may come in either order.
func ParseSession(text string) (Session, error) {
	parts := strings.Split(text, ":")
	ids := make([]uint32, 0, 2)
	for _, part := range parts[1:] {
		id, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return Session{}, fmt.Errorf("session %q: want user:ID:ID or group:ID", text)
		}
		ids = append(ids, uint32(id))
	}
	switch {
	case parts[0] == "group" && len(ids) == 1:
		return Group(ids[0]), nil
	case parts[0] == "user" && len(ids) == 2:
		return Single(ids[0], ids[1]), nil
	}
	return Session{}, fmt.Errorf("session %q: want user:ID:ID or group:ID", text)
}
