// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TeamTalk is one installation, as the engine needs it.
type TeamTalk interface {
	// Path returns reads over one path, so that their answers are evidence for each other. Its errors are those of the
	// reads. The caller calls done after the last read.
	Path() (reads dbproxy.Reads, done func(), err error)
	// Send stores a message of the type given and returns the id that db_proxy answers with. It waits for its turn until
	// queue is done, and then calls build, which returns false if there is no message any more. It waits for the answer
	// until ctx is done. It calls late, which must not block, once the answer takes longer than usual.
	Send(
		ctx, queue context.Context, kind wire.MsgType, build func() (dbproxy.Message, bool), late func(),
	) (uint32, error)
	Router
	// Keys returns the keys as they are now.
	Keys() cipher.Keys
	// WaitReady blocks until db_proxy is connected, or ctx is done.
	WaitReady(ctx context.Context) error
}

// Router announces messages.
type Router interface {
	// Route hands a stored message to a router.
	Route(ctx context.Context, m dbproxy.Message, msgID uint32) error
	// WaitRouter blocks until a router is connected, or ctx is done.
	WaitRouter(ctx context.Context) error
}

// DirectorySnapshot is the content of the directory at one time.
type DirectorySnapshot struct {
	// At is the time of the request.
	At     time.Time
	Users  map[uint32]*wire.UserInfo
	Groups map[uint32]*wire.GroupInfo
}

const (
	// maxUsersPerRequest keeps an answer well below the length of a frame, long signatures included.
	maxUsersPerRequest = 200
	// maxGroupsPerRequest does the same for groups, each of which has its members.
	maxGroupsPerRequest = 20
	// directoryTTL is how long a user or group is assumed to exist.
	directoryTTL = 30 * time.Second
)

// fetchDirectory requests users and groups together with the sender, at most as many as one answer holds. If the sender
// is in the answer, the absence of others is evidence. If the answer has no user, the whole snapshot is empty: in an
// outage, a missing group may exist.
func fetchDirectory(
	ctx context.Context, reads dbproxy.Reads, sender uint32, users, groups []uint32,
) (DirectorySnapshot, error) {
	s := DirectorySnapshot{At: time.Now()}
	var err error
	if len(groups) > 0 {
		if s.Groups, err = reads.Groups(ctx, sender, groups, keepWitnesses(sender)); err != nil {
			return DirectorySnapshot{}, err
		}
	}
	if len(users) == 0 {
		// Without another user in the answer, a missing sender would look like an outage.
		users = s.otherMember(sender)
	}
	if s.Users, err = reads.Users(ctx, sender, append([]uint32{sender}, users...)); err != nil {
		return DirectorySnapshot{}, err
	}
	if !s.respondsWithData() {
		return DirectorySnapshot{At: s.At}, nil
	}
	for _, user := range s.Users {
		user.UserRealName = nil // it would be held without being used
	}
	return s, nil
}

// keepWitnesses drops the members of a group that a snapshot does not need. It keeps the sender, if it is a member, and
// one other.
func keepWitnesses(sender uint32) func(*wire.GroupInfo) {
	return func(g *wire.GroupInfo) {
		id, isMember, other := g.GetGroupId(), false, -1
		for i, m := range g.GetGroupMemberList() {
			if m == sender {
				isMember = true
			} else if other < 0 {
				other = i
			}
		}
		var kept []uint32
		if isMember {
			kept = append(kept, sender)
		}
		if other >= 0 {
			kept = append(kept, g.GroupMemberList[other])
		}
		proto.Reset(g)
		g.GroupId, g.GroupMemberList = &id, kept
	}
}

// otherMember returns a member of one of the groups who is not the sender, if any.
func (s DirectorySnapshot) otherMember(sender uint32) []uint32 {
	for _, g := range s.Groups {
		for _, m := range g.GetGroupMemberList() {
			if m != sender {
				return []uint32{m}
			}
		}
	}
	return nil
}

// respondsWithData reports whether the directory answered from its data: an outage looks like empty lists.
func (s DirectorySnapshot) respondsWithData() bool { return len(s.Users) > 0 }

// shows reports whether the snapshot shows a user who has not left, or a group with the sender as a member.
func (s DirectorySnapshot) shows(r v1alpha1.Recipient, sender uint32) bool {
	if r.Type == v1alpha1.RecipientUser {
		user := s.Users[r.ID]
		return user != nil && (user.GetStatus() != wire.UserStatusDeparted || r.ID == sender)
	}
	return slices.Contains(s.Groups[r.ID].GetGroupMemberList(), sender)
}

// refusal returns why the recipient cannot get a message of the sender, or nil.
func (s DirectorySnapshot) refusal(sender uint32, r v1alpha1.Recipient) *v1alpha1.Cause {
	refuse := func(reason, format string, args ...any) *v1alpha1.Cause {
		return &v1alpha1.Cause{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	switch group := s.Groups[r.ID]; {
	case s.Users[sender] == nil:
		return refuse(v1alpha1.ReasonSenderNotFound, "sender: user %d does not exist in TeamTalk", sender)
	case s.shows(r, sender):
		return nil
	case r.Type == v1alpha1.RecipientUser && s.Users[r.ID] != nil:
		return refuse(v1alpha1.ReasonRecipientDeparted, "user %d has left TeamTalk, and would not read it", r.ID)
	case r.Type == v1alpha1.RecipientUser:
		return refuse(v1alpha1.ReasonRecipientNotFound, "user %d does not exist in TeamTalk", r.ID)
	case group == nil:
		return refuse(v1alpha1.ReasonGroupNotFound, "group %d does not exist in TeamTalk", r.ID)
	case len(group.GetGroupMemberList()) == 0:
		// A flushed cache shows every group as empty. Then db_proxy decides.
		return nil
	}
	return refuse(v1alpha1.ReasonSenderNotInGroup, "user %d is not a member of group %d", sender, r.ID)
}

// isDirectoryReason reports whether a reason is one of refusal's.
func isDirectoryReason(reason string) bool {
	switch reason {
	case v1alpha1.ReasonSenderNotFound, v1alpha1.ReasonRecipientNotFound, v1alpha1.ReasonRecipientDeparted,
		v1alpha1.ReasonGroupNotFound, v1alpha1.ReasonSenderNotInGroup:
		return true
	}
	return false
}
