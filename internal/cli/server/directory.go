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

// named is what the directory has by id and name.
type named interface {
	key() (id uint32, name string)
}

func (u user) key() (id uint32, name string)  { return u.ID, u.Name }
func (g group) key() (id uint32, name string) { return g.ID, g.Name }

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

// readGroups returns the normal groups of a user who exists, by id.
func readGroups(ctx context.Context, reads dbproxy.DirectoryReads, of uint32) ([]group, error) {
	ids, err := reads.GroupsOf(ctx, of)
	if err != nil {
		return nil, fmt.Errorf("read the groups of user %d from db_proxy: %w", of, err)
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

// kindUser and kindGroup describe items for errors.
var (
	kindUser  = kind{"user", "login name", kube.Command + " users"}
	kindGroup = kind{"group of the sender", "name", kube.Command + " groups"}
)

// kind describes items: what they are, what their names are, and the command that lists them.
type kind struct{ item, name, command string }

// findNamed returns the only item with a name. Its error suggests similar names.
func findNamed[T named](items []T, what kind, name string) (T, error) {
	var same, similar []T
	for _, item := range items {
		switch _, other := item.key(); {
		case other == name:
			same = append(same, item)
		case strings.Contains(strings.ToLower(other), strings.ToLower(name)):
			similar = append(similar, item)
		}
	}
	var none T
	switch {
	case len(same) == 1:
		return same[0], nil
	case len(same) > 1:
		ids := listed(same, func(item T) string { id, _ := item.key(); return fmt.Sprint(id) })
		return none, fmt.Errorf("the %s %q is that of %d %ss: %s: use an id", what.name, name, len(same), what.item, ids)
	case len(similar) > 0:
		return none, fmt.Errorf("no %s has the %s %q; similar ones: %s", what.item, what.name, name,
			listed(similar, func(item T) string {
				id, other := item.key()
				return fmt.Sprintf("%s (%d)", kube.Printable(other), id)
			}))
	}
	return none, fmt.Errorf("no %s has the %s %q: %q lists them", what.item, what.name, name, what.command)
}

// chooseNamed returns the item with a name or, if no item has the name, with an id; without a text, it returns all.
func chooseNamed[T named](items []T, what kind, text string) ([]T, error) {
	if text == "" {
		return items, nil
	}
	found, err := findNamed(items, what, text)
	if err == nil {
		return []T{found}, nil
	}
	for _, item := range items {
		if id, _ := item.key(); fmt.Sprint(id) == text {
			return []T{item}, nil
		}
	}
	return nil, err
}
