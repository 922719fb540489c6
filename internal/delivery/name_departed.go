// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxUnlisted limits the ids that are requested to find users who have left, in requests of maxUsersPerRequest.
	maxUnlisted = 10_000
	// besideListed is the largest distance from a listed id at which they are searched for.
	besideListed = maxUsersPerRequest - 1
	// departedTimeout limits the search for them. Names that were not found are searched for again a minute later.
	departedTimeout = 30 * time.Second
)

// departedUsers are users who have left, by their login names.
type departedUsers struct {
	ids map[string]uint32
	// searched holds the names that were searched for. It is nil before the first answer.
	searched map[string]struct{}
}

// searchDeparted searches for wanted names, which no listed user has, among the users who have left. The list of all
// users does not contain them, but TeamTalk returns them by id. So the ids that the list lacks are requested. If they
// are too many, because ids are sparse, nothing is requested.
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

// unlisted returns the ids near those of the table. It returns false if they are too many.
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
