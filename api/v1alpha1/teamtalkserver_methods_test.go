// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "testing"

func TestPermitsRecipient(t *testing.T) {
	two := RecipientIDs{Users: []UserID{2}}
	tests := map[string]struct {
		rules *RecipientRules
		typ   RecipientType
		id    int64
		want  bool
	}{
		"no rules":            {nil, RecipientUser, 2, true},
		"denied":              {&RecipientRules{Deny: two}, RecipientUser, 2, false},
		"another is denied":   {&RecipientRules{Deny: two}, RecipientUser, 3, true},
		"a group of that id":  {&RecipientRules{Deny: two}, RecipientGroup, 2, true},
		"allowed":             {&RecipientRules{Allow: two}, RecipientUser, 2, true},
		"another is allowed":  {&RecipientRules{Allow: two}, RecipientUser, 3, false},
		"only users are":      {&RecipientRules{Allow: two}, RecipientGroup, 7, false},
		"denied and allowed":  {&RecipientRules{Allow: two, Deny: two}, RecipientUser, 2, false},
		"rules without words": {&RecipientRules{}, RecipientGroup, 7, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.rules.Permits(tc.typ, tc.id); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}
