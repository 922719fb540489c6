package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TeamTalk is one installation, as the engine needs it.
type TeamTalk interface {
	// Path returns reads over one path, which vouch for each other. Its errors
	// are those of the reads.
	Path() (dbproxy.Reads, error)
	// Send stores a message of the type given and returns the id that db_proxy answers
	// with. It waits for its turn until queue is done, has the message built then,
	// unless there is none any more, and waits for the answer until ctx is done.
	Send(ctx, queue context.Context, kind wire.MsgType, build func() (dbproxy.Message, bool)) (uint32, error)
	// Route hands a stored message to a router.
	Route(ctx context.Context, m dbproxy.Message, msgID uint32) error
	// Keys returns the keys as they are now.
	Keys() cipher.Keys
	// WaitReady blocks until db_proxy is connected, or ctx is done.
	WaitReady(ctx context.Context) error
}

// DirectorySnapshot is what the directory showed at one time.
type DirectorySnapshot struct {
	// At is when it was asked.
	At     time.Time
	Users  map[uint32]*wire.UserInfo
	Groups map[uint32]*wire.GroupInfo
}

// maxUsersPerRequest is how many users are asked for at once: an answer stays well below
// what a frame may hold, long signatures included.
const maxUsersPerRequest = 200

// maxGroupsPerRequest is the same for groups, each of which comes with its members.
const maxGroupsPerRequest = 20

// directoryTTL is how long it is believed that somebody was there: a long queue in a
// conversation must not end with a user who has left since.
const directoryTTL = 30 * time.Second

// fetchDirectory asks for the sender beside users and groups, of which there are no more
// than one answer holds: the sender's presence in the answer is what makes
// another's absence believable. Without any user in it the whole look is empty:
// a group that is missing from it must not pass for missing from the directory.
func fetchDirectory(ctx context.Context, d dbproxy.Reads, sender uint32, users, groups []uint32) (DirectorySnapshot, error) {
	snapshot := DirectorySnapshot{At: time.Now()}
	var err error
	if len(groups) > 0 {
		if snapshot.Groups, err = d.Groups(ctx, sender, groups); err != nil {
			return DirectorySnapshot{}, err
		}
	}
	if len(users) == 0 {
		// Without another user in the answer, a missing sender would look like an outage.
		users = snapshot.otherMember(sender)
	}
	if snapshot.Users, err = d.Users(ctx, sender, append([]uint32{sender}, users...)); err != nil {
		return DirectorySnapshot{}, err
	}
	if len(snapshot.Users) == 0 {
		return DirectorySnapshot{At: snapshot.At}, nil
	}
	return snapshot, nil
}

// otherMember returns a member of one of the groups who is not the sender, if there is one.
func (l DirectorySnapshot) otherMember(sender uint32) []uint32 {
	for _, g := range l.Groups {
		for _, m := range g.GetGroupMemberList() {
			if m != sender {
				return []uint32{m}
			}
		}
	}
	return nil
}

// isMember reports whether the look shows the user in the group.
func (l DirectorySnapshot) isMember(group, user uint32) bool {
	return slices.Contains(l.Groups[group].GetGroupMemberList(), user)
}
