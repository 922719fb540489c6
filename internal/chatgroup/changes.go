// SPDX-License-Identifier: Apache-2.0

package chatgroup

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// MaxChanged is the highest number of members that one request adds or removes: each is a separate INSERT in db_proxy.
const MaxChanged = 100

// Changes returns the requests, in the name of a user, that bring a group to the wanted members. Others are removed if
// exact is set.
func Changes(g *Group, by uint32, want []uint32, exact bool) (changes []dbproxy.MemberChange) {
	missing, others := Difference(g.Members, want)
	add := func(ids []uint32, remove bool) {
		for chunk := range slices.Chunk(ids, MaxChanged) {
			changes = append(changes, dbproxy.MemberChange{By: by, Group: g.ID, Remove: remove, Members: chunk})
		}
	}
	add(missing, false)
	if exact {
		add(others, true)
	}
	return changes
}

// Difference returns which of the wanted members are missing, and which members are not wanted, in order.
func Difference(members, want []uint32) (missing, others []uint32) {
	is, wanted := sets.New(members...), sets.New(want...)
	return sets.List(wanted.Difference(is)), sets.List(is.Difference(wanted))
}

// Effect returns the users of a change for which the group already shows its effect.
func Effect(c dbproxy.MemberChange, members []uint32) []uint32 {
	is := sets.New(members...)
	return slices.DeleteFunc(slices.Clone(c.Members), func(id uint32) bool { return is.Has(id) == c.Remove })
}
