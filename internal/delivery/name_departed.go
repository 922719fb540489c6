// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxUnlisted is how many ids are asked for users who have left, in requests of maxUsersPerRequest.
	maxUnlisted = 10_000
	// besideListed is how far from a listed id they are looked for.
	besideListed = maxUsersPerRequest - 1
	// departedTimeout bounds the search for them. Names that were not found then are looked for again a minute later.
	departedTimeout = 30 * time.Second
)

// departedUsers are users who have left, by their login names.
type departedUsers struct {
	ids map[string]uint32
	// searched are the names that were looked for; nil: not yet, or TeamTalk has not answered.
	searched map[string]struct{}
}

// searchDeparted looks for wanted names, which no listed user has, among the users who have left. The list of all users
// leaves these out, but TeamTalk shows them when it is asked for their ids: so those are asked for that the list lacks.
// If ids are so sparse that these are too many, nothing is asked.
func (v *nameView) searchDeparted(
	ctx context.Context, sender uint32, listed *nameTable, wanted map[string]struct{},
) departedUsers {
	ids, ok := listed.unlisted()
	if !ok {
		return departedUsers{searched: wanted}
	}
	ctx, cancel := context.WithTimeout(ctx, departedTimeout)
	defer cancel()
	reads, done, err := v.server.Path()
	if err != nil {
		return departedUsers{}
	}
	defer done()
	found := departedUsers{ids: map[string]uint32{}, searched: wanted}
	for chunk := range slices.Chunk(ids, maxUsersPerRequest-1) {
		users, err := reads.Users(ctx, sender, append([]uint32{sender}, chunk...))
		if err != nil || len(users) == 0 { // the sender, at least, exists
			return departedUsers{}
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
