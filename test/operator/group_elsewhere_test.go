// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// createdUnanswered returns a TeamTalkGroup whose group was created in TeamTalk, of which the operator does not know.
func (x *tenant) createdUnanswered() *v1alpha1.TeamTalkGroup {
	x.Helper()
	x.AddFault(devserver.Fault{Kind: devserver.NoAnswer, Command: wire.CommandGroupCreateReq, Count: 1})
	o := x.declareGroup("oncall", ofUsers(x.Alice))
	x.Eventually("no group is created", func() bool { return len(x.chatGroups()) == 1 })
	x.AddFault(devserver.Fault{Kind: devserver.Drop, Command: wire.CommandUserGroupsReq})
	return x.awaitGroup(o, v1alpha1.ReasonNoAnswer)
}

// TestGroupOfAnotherSender: a group that was created and not answered is found among those of the former default sender,
// after the server was created again with another one.
func TestGroupOfAnotherSender(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	o := x.createdUnanswered()
	x.Delete(x.Server())
	x.awaitGroup(o, v1alpha1.ReasonServerNotFound)
	x.TeamTalk.Faults().Clear()
	x.Create(x.Server(func(s *v1alpha1.TeamTalkServer) { s.Spec.Senders.Default = v1alpha1.UserID(x.Mate) }))
	o = x.awaitGroup(o, v1alpha1.ReasonReady)
	created := x.chatGroups()
	if len(created) != 1 || created[0].ID != uint32(*o.Status.GroupID) {
		t.Fatalf("created %+v, status %+v", created, o.Status)
	}
	x.awaitMembers(created[0].ID, x.Mate, x.Alice)
}

// TestGroupOfAnotherServer: after an attempt without an answer, absence in the TeamTalk of another server proves nothing.
func TestGroupOfAnotherServer(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	o := x.createdUnanswered()
	x.Delete(x.Server())
	x.awaitGroup(o, v1alpha1.ReasonServerNotFound)
	x.TeamTalk.Faults().Clear()
	former := x.chatGroups()
	x.TeamTalk = framework.TeamTalkFor(t)
	for _, id := range []uint32{x.Bot, x.Alice} {
		x.Must(x.TeamTalk.AddUser(framework.User(id)))
	}
	x.Create(x.Server())
	x.awaitGroup(o, v1alpha1.ReasonOutcomeUnknown)
	x.AwaitEvent("oncall", v1alpha1.ReasonOutcomeUnknown)
	if created := x.chatGroups(); len(former) != 1 || len(created) != 0 {
		t.Errorf("created %+v, and then %+v", former, created)
	}
}
