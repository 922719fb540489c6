// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestGroupRefused: what only a user can fix is Stalled, changes nothing, and goes on once it is fixed.
func TestGroupRefused(t *testing.T) {
	t.Parallel()
	const nobody = 1_999_999
	type serverEdit = func(*v1alpha1.TeamTalkServer)
	tests := map[string]struct {
		server serverEdit
		// setup is called before the resource is created.
		setup func(*tenant)
		edit  func(*tenant) groupEdit
		want  string
		// fix has the group become ready; nil: nothing does.
		fix func(*tenant, *v1alpha1.TeamTalkGroup)
		// groups is how many are created before that.
		groups int
	}{
		"an unknown member": {
			edit: func(x *tenant) groupEdit { return ofUsers(x.Alice, nobody) },
			want: v1alpha1.ReasonMembersNotFound,
			fix:  func(x *tenant, g *v1alpha1.TeamTalkGroup) { x.setMembers(g, x.Alice) },
		},
		"a member who has left": {
			setup: func(x *tenant) {
				left := framework.User(x.Bob)
				left.Status = 3
				x.Must(x.TeamTalk.AddUser(left))
			},
			edit: func(x *tenant) groupEdit { return ofUsers(x.Alice, x.Bob) },
			want: v1alpha1.ReasonMembersNotFound,
			fix:  func(x *tenant, g *v1alpha1.TeamTalkGroup) { x.setMembers(g, x.Alice) },
		},
		"no sender": {
			setup: func(x *tenant) { x.Must(x.TeamTalk.RemoveUser(x.Bot)) },
			edit:  func(x *tenant) groupEdit { return all(adopts(x.OnCall), ofUsers(x.Mate)) },
			server: func(s *v1alpha1.TeamTalkServer) {
				s.Spec.Groups.AdoptAny = new(true)
			},
			want: v1alpha1.ReasonSenderNotFound,
		},
		"an excluded member": {
			server: func(s *v1alpha1.TeamTalkServer) {
				s.Spec.Recipients = &v1alpha1.RecipientRules{Deny: v1alpha1.RecipientIDs{Users: []v1alpha1.UserID{nobody}}}
			},
			edit: func(x *tenant) groupEdit { return ofUsers(nobody) },
			want: v1alpha1.ReasonRecipientNotPermitted,
			fix:  func(x *tenant, g *v1alpha1.TeamTalkGroup) { x.setMembers(g, x.Alice) },
		},
		"not adoptable": {
			edit: func(x *tenant) groupEdit { return all(adopts(x.OnCall), ofUsers(x.Mate)) },
			want: v1alpha1.ReasonGroupNotAdoptable,
			fix: func(x *tenant, _ *v1alpha1.TeamTalkGroup) {
				x.Patch(x.Server(), `{"spec":{"groups":{"adoptAny":true}}}`)
			},
		},
		"an unknown group": {
			server: func(s *v1alpha1.TeamTalkServer) { s.Spec.Groups.Adoptable = []v1alpha1.GroupID{nobody} },
			edit:   func(*tenant) groupEdit { return adopts(nobody) },
			want:   v1alpha1.ReasonGroupNotAdoptable,
		},
		"refused by db_proxy": {
			setup: func(x *tenant) {
				x.AddFault(devserver.Fault{Kind: devserver.IDZero, Command: wire.CommandGroupCreateReq})
			},
			edit: func(x *tenant) groupEdit { return ofUsers(x.Alice) },
			want: v1alpha1.ReasonGroupCreateFailed,
			fix: func(x *tenant, g *v1alpha1.TeamTalkGroup) {
				x.TeamTalk.Faults().Clear()
				x.setMembers(g, x.Bob)
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			edit := tc.server
			if edit == nil {
				edit = func(*v1alpha1.TeamTalkServer) {}
			}
			x := newTenantWithTeamTalk(t, edit)
			if tc.setup != nil {
				tc.setup(x)
			}
			o := x.declareGroup("oncall", tc.edit(x))
			o = x.awaitGroup(o, tc.want)
			if !meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionStalled) {
				t.Errorf("conditions %+v", o.Status.Conditions)
			}
			x.AwaitEvent("oncall", tc.want)
			if created := x.chatGroups(); len(created) != tc.groups {
				t.Errorf("created %+v", created)
			}
			if members := x.members(x.OnCall); len(members) != 3 {
				t.Errorf("members %v", members)
			}
			if tc.fix != nil {
				tc.fix(x, o)
				x.awaitGroup(o, v1alpha1.ReasonReady)
			}
		})
	}
}

// TestGroupGone: a group that TeamTalk does not show any more is not created again, and another's is not touched.
func TestGroupGone(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	router := x.routerPeer()
	o := x.awaitGroup(x.declareGroup("oncall", ofUsers(x.Alice)), v1alpha1.ReasonReady)
	id := uint32(*o.Status.GroupID)
	x.Must(x.TeamTalk.RemoveGroup(id))
	router.notify(id)
	x.awaitGroup(o, v1alpha1.ReasonGroupNotFound)
	x.Must(x.TeamTalk.AddGroup(id, "another", x.Bot, x.Bob))
	x.setMembers(o, x.Alice, x.Mate)
	x.awaitGroup(o, v1alpha1.ReasonGroupNotFound)
	x.awaitMembers(id, x.Bot, x.Bob)
}

// TestGroupWaitsForServer: a group waits for its server, and for proof that it does not exist.
func TestGroupWaitsForServer(t *testing.T) {
	t.Parallel()
	x := newTenantIn(t, world, framework.TeamTalkFor(t))
	o := x.declareGroup("oncall", ofUsers(x.Alice))
	x.awaitGroup(o, v1alpha1.ReasonServerNotFound)
	x.CreateServer(framework.Unreachable)
	x.awaitGroup(o, v1alpha1.ReasonServerNotReady)
	x.AddFault(devserver.Fault{Kind: devserver.EmptyList, Command: wire.CommandUserGroupsReq})
	// Before the group's server is connected, TeamTalk has a row: an empty answer proves nothing then.
	x.Create(x.Server(func(s *v1alpha1.TeamTalkServer) { s.Name = "other" }))
	x.Deliver("first", "makes the group a conversation", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.ServerRef = &v1alpha1.ServerReference{Name: "other"}
		m.Spec.To = v1alpha1.Recipients{Groups: []v1alpha1.GroupID{v1alpha1.GroupID(x.OnCall)}}
	})
	x.Patch(x.Server(), `{"spec":{"dbProxy":{"endpoints":["`+x.TeamTalk.DBProxyAddr()+`"]}}}`)
	x.awaitGroup(o, v1alpha1.ReasonNoAnswer)
	x.TeamTalk.Faults().Clear()
	x.awaitGroup(o, v1alpha1.ReasonReady)
	if created := x.chatGroups(); len(created) != 1 {
		t.Errorf("created %+v", created)
	}
}
