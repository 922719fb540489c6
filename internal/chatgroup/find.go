// SPDX-License-Identifier: Apache-2.0

package chatgroup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Search is a search among the groups of a user.
type Search struct {
	// Creator is the user who may have created the group. If it is 0, it is the user of the client.
	Creator uint32
	// IsMarked reports whether the avatar of a group has the mark that is searched for.
	IsMarked func(avatar string) bool
	// Known is the newest known group of which the client's user is a member, or 0.
	Known uint32
}

// Found is the result of a Search.
type Found struct {
	// Group is the group with the mark, or 0.
	Group uint32
	// At is when the search began.
	At time.Time
	// Doubt tells why the answer proves nothing. If it is empty, a group that the answer does not show did not exist,
	// apart from replication lag.
	Doubt string
}

// Find searches for a group that a user has created. db_proxy answers with an empty list if its database fails, so a
// list without the known group proves nothing. If no group is known, the directory must serve as evidence.
func (c *Client) Find(ctx context.Context, s Search) (found Found, err error) {
	found.At = time.Now()
	s.Creator = cmp.Or(s.Creator, c.User)
	err = c.read(ctx, func(ctx context.Context, reads dbproxy.Reads) error {
		ids, err := reads.GroupsOf(ctx, s.Creator)
		if err != nil {
			return err
		}
		own := ids
		if s.Known != 0 && s.Creator != c.User {
			if own, err = reads.GroupsOf(ctx, c.User); err != nil {
				return err
			}
		}
		switch {
		case s.Known != 0 && !slices.Contains(own, s.Known):
			found.Doubt = fmt.Sprintf("TeamTalk does not show that user %d is in group %d, which is known", c.User, s.Known)
		case len(ids) == 0:
			if found.Doubt, err = c.inGroups(ctx, reads, s.Creator); err != nil {
				return err
			}
		}
		shown, err := c.findMarked(ctx, reads, ids, s, &found)
		if found.Group == 0 && shown < len(ids) && found.Doubt == "" {
			found.Doubt = fmt.Sprintf("TeamTalk lists %d groups of user %d, and shows %d of them", len(ids), s.Creator, shown)
		}
		return err
	})
	return found, err
}

// findMarked returns how many of the groups TeamTalk shows. The newest are first: their ids are the highest.
func (c *Client) findMarked(
	ctx context.Context, reads dbproxy.DirectoryReads, ids []uint32, s Search, found *Found,
) (shown int, err error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	slices.Reverse(ids)
	for chunk := range slices.Chunk(ids, maxGroups) {
		groups, err := reads.Groups(ctx, c.User, chunk, dropMembers)
		if err != nil {
			return shown, err
		}
		for id, g := range groups {
			shown++
			if g.GetGroupCreatorId() == s.Creator && s.IsMarked(g.GetGroupAvatar()) {
				found.Group = id
			}
		}
		if found.Group != 0 {
			break
		}
	}
	return shown, nil
}

// inGroups returns why an empty list of a user's groups proves nothing. The reason is empty if the directory shows the
// client's user, and no group of the other user's conversations has that user as a member.
func (c *Client) inGroups(ctx context.Context, reads dbproxy.Reads, user uint32) (doubt string, err error) {
	if err := c.showsUser(ctx, reads); err != nil {
		return "", err
	}
	sessions, err := reads.RecentSessions(ctx, user)
	if err != nil {
		return "", err
	}
	var ids []uint32
	for _, s := range sessions {
		if s.GetSessionType() == wire.SessionType_SESSION_TYPE_GROUP {
			ids = append(ids, s.GetSessionId())
		}
	}
	for chunk := range slices.Chunk(ids, maxGroups) {
		groups, err := reads.Groups(ctx, c.User, chunk, nil)
		if err != nil {
			return "", err
		}
		for id, g := range groups {
			if slices.Contains(g.GetGroupMemberList(), user) {
				return fmt.Sprintf("TeamTalk lists no groups of user %d, who is a member of group %d", user, id), nil
			}
		}
	}
	return "", nil
}
