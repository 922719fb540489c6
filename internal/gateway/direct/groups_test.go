// SPDX-License-Identifier: Apache-2.0

package direct

import (
	"slices"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestDropOthers: of a large group only what decides about the change is kept, and the decision is the same.
func TestDropOthers(t *testing.T) {
	large := make([]uint32, 80_000)
	for i := range large {
		large[i] = uint32(i) + 100
	}
	for name, tc := range map[string]struct {
		members, change []uint32
		remove          bool
		wantKept        int
		wantDone        bool
	}{
		"added":                   {large, []uint32{100, 5000}, false, 3, true},
		"not added yet":           {large, []uint32{100, 5}, false, 2, false},
		"removed":                 {large, []uint32{5, 6}, true, 1, true},
		"not removed yet":         {large, []uint32{5, 5000}, true, 2, false},
		"named twice":             {large, []uint32{100, 100}, false, 2, true},
		"no others":               {[]uint32{7}, []uint32{7}, false, 1, true},
		"an empty list to remove": {nil, []uint32{7}, true, 0, true},
		"an empty list to add":    {nil, []uint32{7}, false, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := dbproxy.MemberChange{Members: tc.change, Remove: tc.remove}
			g := &wire.GroupInfo{GroupMemberList: slices.Clone(tc.members)}
			before := isDone(c, g)
			dropOthers(c, g)
			if before != tc.wantDone || isDone(c, g) != tc.wantDone {
				t.Errorf("done: %t, after the others were dropped %t", before, isDone(c, g))
			}
			if kept := g.GetGroupMemberList(); len(kept) != tc.wantKept || cap(kept) > 8 {
				t.Errorf("kept %d members in memory for %d", len(kept), cap(kept))
			}
		})
	}
}
