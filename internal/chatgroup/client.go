// SPDX-License-Identifier: Apache-2.0

package chatgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// readTimeout bounds all reads of one step. Reads about groups wait for each other.
	readTimeout = 20 * time.Second
	// queueTimeout bounds the wait of a change until it is written.
	queueTimeout = 10 * time.Second
	// announceTimeout bounds an announcement.
	announceTimeout = 5 * time.Second
	// maxUsers and maxGroups limit the users and groups of one request.
	maxUsers, maxGroups = 200, 20
)

var (
	// ErrOutage reports that the answer lacks users or groups that must exist, as in an outage of TeamTalk's database.
	ErrOutage = errors.New("TeamTalk shows nothing; its database or its cache may be down")
	// ErrUserMissing reports that the user in whose name groups are managed does not exist.
	ErrUserMissing = errors.New("the user does not exist")
)

// TeamTalk is one installation.
type TeamTalk interface {
	Path() (reads dbproxy.Reads, done func(), err error)
	// CreateGroup and ChangeMembers wait until queue is done for the request to be written, and then for the answer.
	CreateGroup(ctx, queue context.Context, g dbproxy.NewGroup) (uint32, error)
	ChangeMembers(ctx, queue context.Context, c dbproxy.MemberChange) (dbproxy.Membership, error)
	Announce(ctx context.Context, c dbproxy.MemberChange, m dbproxy.Membership) error
}

// Client manages groups through a TeamTalk, on behalf of a namespace, in the name of a user.
type Client struct {
	TeamTalk  TeamTalk
	Namespace string
	User      uint32
}

// Group is a group as TeamTalk shows it.
type Group struct {
	ID, Creator uint32
	Avatar      string
	Members     []uint32
}

// read calls do with reads over one connection: their answers prove something about each other.
func (c *Client) read(ctx context.Context, do func(ctx context.Context, reads dbproxy.Reads) error) error {
	ctx, cancel := context.WithTimeout(fairqueue.WithTenant(ctx, c.Namespace), readTimeout)
	defer cancel()
	reads, done, err := c.TeamTalk.Path()
	if err != nil {
		return err
	}
	defer done()
	return do(ctx, reads)
}

// Read returns a group, or nil if TeamTalk shows the user and no such group.
func (c *Client) Read(ctx context.Context, id uint32) (group *Group, err error) {
	err = c.read(ctx, func(ctx context.Context, reads dbproxy.Reads) error {
		groups, err := reads.Groups(ctx, c.User, []uint32{id}, nil)
		if err != nil {
			return err
		}
		if g := groups[id]; g != nil {
			group = &Group{ID: id, Creator: g.GetGroupCreatorId(), Avatar: g.GetGroupAvatar(), Members: g.GetGroupMemberList()}
			return nil
		}
		return c.showsUser(ctx, reads)
	})
	return group, err
}

// showsUser returns ErrOutage unless the directory shows the user.
func (c *Client) showsUser(ctx context.Context, reads dbproxy.DirectoryReads) error {
	users, err := reads.Users(ctx, c.User, []uint32{c.User})
	switch {
	case err != nil:
		return err
	case users[c.User] == nil:
		return ErrOutage
	}
	return nil
}

// Missing returns the users who do not exist, or have left.
func (c *Client) Missing(ctx context.Context, ids []uint32) (missing []uint32, err error) {
	err = c.read(ctx, func(ctx context.Context, reads dbproxy.Reads) error {
		for chunk := range slices.Chunk(ids, maxUsers) {
			// The request includes the client's user: an answer with any user is not an outage.
			users, err := reads.Users(ctx, c.User, append([]uint32{c.User}, chunk...))
			switch {
			case err != nil:
				return err
			case len(users) == 0:
				return ErrOutage
			case users[c.User] == nil:
				return ErrUserMissing
			}
			for _, id := range chunk {
				if u := users[id]; u == nil || u.GetStatus() == wire.UserStatusDeparted {
					missing = append(missing, id)
				}
			}
		}
		return nil
	})
	return missing, err
}

// Create creates a group and returns its id. Its errors are those of dbproxy.Client.CreateGroup. After an error that is
// not dbproxy.ErrNotSent or dbproxy.ErrRefused, the group may exist, and its connection has ended.
func (c *Client) Create(ctx context.Context, g dbproxy.NewGroup) (uint32, error) {
	ctx = fairqueue.WithTenant(ctx, c.Namespace)
	queue, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	return c.TeamTalk.CreateGroup(ctx, queue, g)
}

// Change changes the members of a group. Its errors are those of dbproxy.Client.ChangeMembers.
func (c *Client) Change(ctx context.Context, change dbproxy.MemberChange) (dbproxy.Membership, error) {
	ctx = fairqueue.WithTenant(ctx, c.Namespace)
	queue, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	return c.TeamTalk.ChangeMembers(ctx, queue, change)
}

// Announce announces a change to the clients of the members.
func (c *Client) Announce(ctx context.Context, change dbproxy.MemberChange, m dbproxy.Membership) error {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	if err := c.TeamTalk.Announce(ctx, change, m); err != nil {
		return fmt.Errorf("announce a change of group %d: %w", change.Group, err)
	}
	return nil
}

// dropMembers drops the members, which a search does not need.
func dropMembers(g *wire.GroupInfo) { g.GroupMemberList, g.GroupName = nil, nil }
