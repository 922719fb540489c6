// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// errNoUsers says that an answer without users proves nothing.
var errNoUsers = errors.New("db_proxy shows no user at all: its database cannot be read, or its configuration names " +
	"another database")

// user is a user of the directory.
type user struct {
	ID   uint32 `json:"id"`
	Name string `json:"name"`
}

// group is a group of the directory.
type group struct {
	ID      uint32 `json:"id"`
	Name    string `json:"name"`
	Members int    `json:"members"`
	Creator uint32 `json:"creator"`
}

// userCollector keeps all users.
type userCollector struct{ users []user }

// Begin implements dbproxy.UserScanner.
func (c *userCollector) Begin() { c.users = nil }

// User implements dbproxy.UserScanner.
func (c *userCollector) User(id uint32, loginName []byte) {
	c.users = append(c.users, user{id, string(loginName)})
}

// readUsers returns all users who have not left TeamTalk, by id.
func readUsers(ctx context.Context, reads dbproxy.DirectoryReads, asker uint32) ([]user, error) {
	c := &userCollector{}
	if err := reads.ScanUsers(ctx, asker, c); err != nil {
		return nil, fmt.Errorf("read the users from db_proxy: %w", err)
	}
	if len(c.users) == 0 {
		return nil, errNoUsers
	}
	slices.SortFunc(c.users, func(a, b user) int { return cmp.Compare(a.ID, b.ID) })
	return c.users, nil
}

// groupChunk is how many groups are read at once: their members take memory.
const groupChunk = 50

// readGroups returns the normal groups of a user, by id.
func readGroups(ctx context.Context, reads dbproxy.DirectoryReads, of uint32) ([]group, error) {
	ids, err := reads.GroupsOf(ctx, of)
	if err != nil {
		return nil, fmt.Errorf("read the groups of user %d from db_proxy: %w", of, err)
	}
	if len(ids) == 0 {
		users, err := reads.Users(ctx, of, []uint32{of})
		switch {
		case err != nil:
			return nil, fmt.Errorf("read user %d from db_proxy: %w", of, err)
		case len(users) == 0:
			return nil, fmt.Errorf("db_proxy shows neither user %d nor its groups: the user does not exist, or the database "+
				"cannot be read", of)
		}
		return nil, nil
	}
	slices.Sort(ids)
	var groups []group
	for chunk := range slices.Chunk(ids, groupChunk) {
		found, err := reads.Groups(ctx, of, chunk, countMembers)
		if err != nil {
			return nil, fmt.Errorf("read groups from db_proxy: %w", err)
		}
		for _, id := range chunk {
			g := found[id]
			if g == nil {
				return nil, fmt.Errorf("db_proxy lists group %d of user %d and does not show it: a table cannot be read", id, of)
			}
			groups = append(groups, group{id, g.GetGroupName(), int(g.GetVersion()), g.GetGroupCreatorId()})
		}
	}
	return groups, nil
}

// countMembers replaces the members of a group by their number, in the field of the version.
func countMembers(g *wire.GroupInfo) {
	kept := &wire.GroupInfo{
		GroupId: g.GroupId, GroupName: g.GroupName, GroupCreatorId: g.GroupCreatorId,
		Version: proto.Uint32(uint32(len(g.GetGroupMemberList()))),
	}
	proto.Reset(g)
	proto.Merge(g, kept)
}

// findUser returns the user with a login name.
func findUser(users []user, name string) (user, error) {
	return findNamed(users, "user", "login name", name, func(u user) (uint32, string) { return u.ID, u.Name })
}

// findGroup returns the group with a name.
func findGroup(groups []group, name string) (group, error) {
	return findNamed(groups, "group of the sender", "name", name, func(g group) (uint32, string) { return g.ID, g.Name })
}

// findNamed returns the only item with a name. Its error suggests similar names.
func findNamed[T any](items []T, kind, what, name string, of func(T) (uint32, string)) (T, error) {
	var same []T
	var ids, similar []string
	for _, item := range items {
		id, other := of(item)
		switch {
		case other == name:
			same = append(same, item)
			ids = append(ids, fmt.Sprint(id))
		case strings.Contains(strings.ToLower(other), strings.ToLower(name)):
			similar = append(similar, fmt.Sprintf("%s (%d)", kube.Printable(other), id))
		}
	}
	switch {
	case len(same) == 1:
		return same[0], nil
	case len(same) > 1:
		return same[0], fmt.Errorf("the %s %q is that of %d %ss: %s: use an id", what, name, len(same), kind,
			strings.Join(ids, ", "))
	}
	var none T
	if len(similar) == 0 {
		return none, fmt.Errorf("no %s has the %s %q: upper and lower case differ", kind, what, name)
	}
	const most = 10
	more := ""
	if n := len(similar) - most; n > 0 {
		similar, more = similar[:most], fmt.Sprintf(" and %d more", n)
	}
	return none, fmt.Errorf("no %s has the %s %q; similar ones: %s%s", kind, what, name, strings.Join(similar, ", "), more)
}
