// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// GroupInfo is a group.
type GroupInfo struct {
	ID      uint32
	Name    string
	Avatar  string
	Creator uint32
	Type    wire.GroupType
	Version uint32
	// Members are in the order in which TeamTalk lists them.
	Members []uint32
	// Messages counts the stored messages.
	Messages int
}

// Groups returns the groups with the ids, the last changed first. If ids is nil, it returns all groups. Unknown ids are
// left out.
func (s *Store) Groups(ids []uint32) (groups []GroupInfo, err error) {
	err = s.read(func() error {
		groups = nil
		if err := s.rows(func(scan func(...any) error) error {
			var g GroupInfo
			var groupType int32
			if err := scan(&g.ID, &g.Name, &g.Avatar, &g.Creator, &groupType, &g.Version, &g.Messages); err != nil {
				return err
			}
			g.Type = wire.GroupType(groupType)
			if ids == nil || slices.Contains(ids, g.ID) {
				groups = append(groups, g)
			}
			return nil
		}, `SELECT g.id, g.name, g.avatar, g.creator, g.type, g.version, coalesce(c.stored, 0)
			FROM groups g LEFT JOIN conversations c ON c.kind = 2 AND c.low = g.id AND c.high = 0
			ORDER BY g.updated DESC, g.id DESC`); err != nil {
			return err
		}
		for i := range groups {
			if groups[i].Members, err = s.members(groups[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	return groups, err
}

// GroupsOf returns ids and versions of the normal groups of a user, the last changed first. Memberships that are
// younger than lag are not seen.
func (s *Store) GroupsOf(user uint32, lag time.Duration) (groups []GroupInfo, err error) {
	err = s.read(func() error {
		groups = nil
		return s.rows(func(scan func(...any) error) error {
			var g GroupInfo
			if err := scan(&g.ID, &g.Version); err != nil {
				return err
			}
			groups = append(groups, g)
			return nil
		}, `SELECT g.id, g.version FROM groups g JOIN members m ON m.group_id = g.id
			WHERE m.user_id = ? AND g.type = ? AND m.joined <= ? ORDER BY g.updated DESC, g.id DESC`,
			user, int32(wire.GroupType_GROUP_TYPE_NORMAL), s.options.Now().Add(-lag).Unix())
	})
	return groups, err
}

// AddGroup stores a group with members who joined at that time. An id of 0 selects the next free one. An existing group
// is replaced. Its messages remain.
func (s *Store) AddGroup(g GroupInfo, joined time.Time) (id uint32, err error) {
	if g.Type == 0 {
		g.Type = wire.GroupType_GROUP_TYPE_NORMAL
	}
	err = s.write(func() error {
		id = g.ID
		if id == 0 {
			if _, err := s.row([]any{&id}, `SELECT coalesce(max(id), 0) + 1 FROM groups`); err != nil {
				return err
			}
		}
		if err := s.exec(`INSERT OR REPLACE INTO groups (id, name, avatar, creator, type, version, updated)
			VALUES (?, ?, ?, ?, ?, ?, ?)`, id, g.Name, g.Avatar, g.Creator, int32(g.Type), max(g.Version, 1),
			s.options.Now().UnixMilli()); err != nil {
			return err
		}
		if err := s.exec(`DELETE FROM members WHERE group_id = ?`, id); err != nil {
			return err
		}
		return s.join(id, g.Members, joined)
	})
	return id, err
}

// RemoveGroup removes a group and its members. Its messages remain.
func (s *Store) RemoveGroup(id uint32) error {
	return s.write(func() error {
		if err := s.exec(`DELETE FROM members WHERE group_id = ?`, id); err != nil {
			return err
		}
		return s.exec(`DELETE FROM groups WHERE id = ?`, id)
	})
}

// Change is the outcome of a change of members.
type Change struct {
	// OK is false where nothing was to be added, or the user may not change the group.
	OK               bool
	Current, Changed []uint32
}

// ChangeMembers adds or removes members. The answer is false for an unknown
// group. Removing reports all that it was asked to remove, present or not.
func (s *Store) ChangeMembers(user, group uint32, change wire.GroupModifyType,
	ids []uint32) (c Change, known bool, err error) {
	ids = SortedSet(ids)
	err = s.write(func() error {
		c = Change{}
		var creator uint32
		var groupType int32
		var err error
		known, err = s.row([]any{&creator, &groupType}, `SELECT creator, type FROM groups WHERE id = ?`, group)
		if err != nil || !known || !mayChange(user, creator, wire.GroupType(groupType), change) {
			return err
		}
		if change == wire.GroupModifyType_GROUP_MODIFY_TYPE_ADD {
			present, err := s.members(group)
			if err != nil {
				return err
			}
			c.Changed = slices.DeleteFunc(slices.Clone(ids), func(id uint32) bool { return slices.Contains(present, id) })
			if len(c.Changed) == 0 {
				return nil
			}
			if err := s.join(group, c.Changed, s.options.Now()); err != nil {
				return err
			}
		} else {
			c.Changed = ids
			if err := s.leave(group, ids); err != nil {
				return err
			}
		}
		c.OK = true
		if c.Current, err = s.members(group); err != nil {
			return err
		}
		return s.exec(`UPDATE groups SET version = version + 1, updated = ? WHERE id = ?`,
			s.options.Now().UnixMilli(), group)
	})
	return c, known, err
}

// mayChange reports whether a user may change a group. User 0 may change every group, and all users may add members to
// a temporary one.
func mayChange(user, creator uint32, groupType wire.GroupType, change wire.GroupModifyType) bool {
	return user == 0 || user == creator ||
		groupType == wire.GroupType_GROUP_TYPE_TMP && change == wire.GroupModifyType_GROUP_MODIFY_TYPE_ADD
}

// SetMembers replaces the group's members. Remaining members keep their time of joining.
func (s *Store) SetMembers(group uint32, ids []uint32) error {
	return s.write(func() error {
		present, err := s.members(group)
		if err != nil {
			return err
		}
		gone := slices.DeleteFunc(present, func(id uint32) bool { return slices.Contains(ids, id) })
		if err := s.leave(group, gone); err != nil {
			return err
		}
		if err := s.join(group, ids, s.options.Now()); err != nil {
			return err
		}
		n, err := s.execCount(`UPDATE groups SET version = version + 1, updated = ? WHERE id = ?`,
			s.options.Now().UnixMilli(), group)
		if err == nil && n == 0 {
			return fmt.Errorf("group %d does not exist", group)
		}
		return err
	})
}

func (s *Store) join(group uint32, ids []uint32, at time.Time) error {
	for _, id := range ids {
		if err := s.exec(`INSERT OR IGNORE INTO members (group_id, user_id, joined, read_count) VALUES (?, ?, ?, coalesce(
			(SELECT stored FROM conversations WHERE kind = 2 AND low = ? AND high = 0), 0))`,
			group, id, at.Unix(), group); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) leave(group uint32, ids []uint32) error {
	for _, id := range ids {
		if err := s.exec(`DELETE FROM members WHERE group_id = ? AND user_id = ?`, group, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) member(group, user uint32) (bool, error) {
	var one int
	return s.row([]any{&one}, `SELECT 1 FROM members m JOIN groups g ON g.id = m.group_id
		WHERE m.group_id = ? AND m.user_id = ?`, group, user)
}

// members lists a group as TeamTalk does, whose cache keeps ids as strings: 10
// comes before 2.
func (s *Store) members(group uint32) ([]uint32, error) {
	var ids []uint32
	err := s.rows(func(scan func(...any) error) error {
		var id uint32
		if err := scan(&id); err != nil {
			return err
		}
		ids = append(ids, id)
		return nil
	}, `SELECT user_id FROM members WHERE group_id = ?`, group)
	slices.SortFunc(ids, func(a, b uint32) int {
		return cmp.Compare(strconv.FormatUint(uint64(a), 10), strconv.FormatUint(uint64(b), 10))
	})
	return ids, err
}

// SortedSet returns the ids in order and each once, as TeamTalk keeps the ids
// of a request.
func SortedSet(ids []uint32) []uint32 {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}
