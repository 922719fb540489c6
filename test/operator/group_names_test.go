// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"slices"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func ofNames(names ...string) groupEdit {
	return func(g *v1alpha1.TeamTalkGroup) { g.Spec.Members.UserNames = names }
}

// checkNames checks that the status shows the ids of the listed names.
func (x *tenant) checkNames(g *v1alpha1.TeamTalkGroup, ids ...uint32) {
	x.Helper()
	var want []v1alpha1.MemberName
	for i, id := range ids {
		want = append(want, v1alpha1.MemberName{Name: g.Spec.Members.UserNames[i], ID: v1alpha1.UserID(id)})
	}
	if !slices.Equal(g.Status.MemberNames, want) {
		x.Errorf("names %+v, want %+v", g.Status.MemberNames, want)
	}
}

// TestGroupNames: members by name are found once. Who has the name later does not matter, neither to this operator nor
// to the next one.
func TestGroupNames(t *testing.T) {
	t.Parallel()
	x := newTenantOf(t, newCluster(t))
	x.Timeout = namesPatience
	o := x.declareGroup("oncall", ofUsers(x.Mate), ofNames(login(x.Alice), login(x.Bob)))
	o = x.awaitGroup(o, v1alpha1.ReasonReady)
	id := uint32(*o.Status.GroupID)
	x.awaitMembers(id, x.Bot, x.Mate, x.Alice, x.Bob)
	x.checkNames(o, x.Alice, x.Bob)

	name := login(x.Alice)
	x.rename(x.Alice, "former")
	x.rename(x.Mate, name)
	x.StopLeader()
	x.Must(x.TeamTalk.SetMembers(id, x.Bot, x.Bob))
	x.StartLeader()
	x.awaitMembers(id, x.Bot, x.Mate, x.Alice, x.Bob)
	x.Patch(o, `{"spec":{"members":{"users":null,"userNames":["`+name+`"]}}}`)
	o = x.awaitGroup(o, v1alpha1.ReasonReady)
	x.awaitMembers(id, x.Bot, x.Alice)
	x.checkNames(o, x.Alice)

	x.Patch(o, `{"spec":{"members":{"userNames":["former"]}}}`)
	o = x.awaitGroup(o, v1alpha1.ReasonReady)
	x.awaitMembers(id, x.Bot, x.Alice)
	x.Patch(o, `{"spec":{"members":{"userNames":["`+name+`"]}}}`)
	o = x.awaitGroup(o, v1alpha1.ReasonReady)
	x.awaitMembers(id, x.Bot, x.Mate)
	x.checkNames(o, x.Mate)
}

// TestGroupNameRefused: a group with a name that stands for nobody, or for several, is not changed.
func TestGroupNameRefused(t *testing.T) {
	t.Parallel()
	const nobody = "nobody.at.all"
	tests := map[string]struct {
		prepare func(*tenant)
		name    string
		want    string
	}{
		"nobody": {name: nobody, want: v1alpha1.ReasonRecipientNotFound},
		"who has left": {
			prepare: func(x *tenant) { x.rename(x.Bob, "bob", departed) },
			name:    "bob", want: v1alpha1.ReasonRecipientDeparted,
		},
		"two users": {
			prepare: func(x *tenant) { x.rename(x.Mate, "two"); x.rename(x.Bob, "two") },
			name:    "two", want: v1alpha1.ReasonRecipientAmbiguous,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			x.Timeout = namesPatience
			if tc.prepare != nil {
				tc.prepare(x)
			}
			x.awaitMembers(x.OnCall, x.Bot, x.Alice, x.Bob)
			o := x.awaitGroup(x.declareGroup("oncall", ofNames(login(x.Alice), tc.name)), tc.want)
			x.AwaitEvent("oncall", tc.want)
			if created := x.chatGroups(); len(created) != 0 {
				t.Errorf("created %+v", created)
			}
			x.Patch(o, `{"spec":{"members":{"userNames":["`+login(x.Alice)+`"]}}}`)
			o = x.awaitGroup(o, v1alpha1.ReasonReady)
			x.awaitMembers(uint32(*o.Status.GroupID), x.Bot, x.Alice)
		})
	}
}

// TestGroupNameOutage: an empty directory says nothing about a name.
func TestGroupNameOutage(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.Timeout = namesPatience
	x.AddFault(devserver.Fault{Kind: devserver.EmptyList, Command: wire.CommandAllUsersReq})
	o := x.awaitGroup(x.declareGroup("oncall", ofNames(login(x.Alice))), v1alpha1.ReasonNoAnswer)
	x.TeamTalk.Faults().Clear()
	o = x.awaitGroup(o, v1alpha1.ReasonReady)
	x.checkNames(o, x.Alice)
}
