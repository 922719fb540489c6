// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"maps"
	"slices"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxUnlisted is how many ids are asked for users who have left, in requests of maxUsersPerRequest.
	maxUnlisted = 10_000
	// besideListed is how far from a listed id they are looked for.
	besideListed = maxUsersPerRequest - 1
)

// departedUsers are users who have left, by their login names.
type departedUsers struct {
	ids map[string]uint32
	// undecided: TeamTalk has not answered.
	undecided bool
}

// searchDeparted looks for names among the users who have left. The list of all users leaves these out, but TeamTalk
// shows them when it is asked for their ids: so those are asked for that the list lacks. If ids are so sparse that
// these are too many, nothing is asked.
func searchDeparted(
	ctx context.Context, reads dbproxy.DirectoryReads, sender uint32, listed *nameTable, wanted map[string]struct{},
) departedUsers {
	maps.DeleteFunc(wanted, func(name string, _ struct{}) bool { return len(listed.find(name)) > 0 })
	if len(wanted) == 0 {
		return departedUsers{}
	}
	ids, ok := listed.unlisted()
	if !ok {
		return departedUsers{}
	}
	found := departedUsers{ids: map[string]uint32{}}
	for chunk := range slices.Chunk(ids, maxUsersPerRequest-1) {
		users, err := reads.Users(ctx, sender, append([]uint32{sender}, chunk...))
		if err != nil || len(users) == 0 { // the sender, at least, exists
			return departedUsers{undecided: true}
		}
		for _, id := range chunk {
			user := users[id]
			if _, isWanted := wanted[user.GetUserRealName()]; isWanted && user.GetStatus() == wire.UserStatusDeparted {
				found.ids[user.GetUserRealName()] = id
			}
		}
	}
	return found
}

// unlisted returns the ids beside those of the table; false: they are too many.
func (t *nameTable) unlisted() (ids []uint32, ok bool) {
	listed := make([]uint32, len(t.entries))
	for i, e := range t.entries {
		listed[i] = e.id
	}
	slices.Sort(listed)
	const end = 1 << 32
	last := uint64(0)
	add := func(from, to uint64) {
		for id := max(from, last+1); id < to; id++ {
			ids, last = append(ids, uint32(id)), id
		}
	}
	for i, next := range listed {
		id := uint64(next)
		if i > 0 {
			add(last+1, min(last+1+besideListed, id))
		}
		if add(max(id, besideListed)-besideListed, id); len(ids) > maxUnlisted {
			return nil, false
		}
		last = id
	}
	add(last+1, min(last+1+besideListed, end))
	return ids, true
}
