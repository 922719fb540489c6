// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func toRefs(names ...string) messageEdit {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To = v1alpha1.Recipients{}
		for _, name := range names {
			m.Spec.To.GroupRefs = append(m.Spec.To.GroupRefs, v1alpha1.GroupReference{Name: name})
		}
	}
}

func manyNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%0200d", i))
	}
	return names
}

// refOf returns the status of a recipient by its TeamTalkGroup.
func refOf(m *v1alpha1.TeamTalkMessage, ref string) v1alpha1.RecipientStatus {
	i := slices.IndexFunc(m.Status.Recipients, func(r v1alpha1.RecipientStatus) bool { return r.Ref == ref })
	if i < 0 {
		return v1alpha1.RecipientStatus{}
	}
	return m.Status.Recipients[i]
}

// waitsFor returns a check that a message waits for a TeamTalkGroup, and says so.
func waitsFor(says string) func(*v1alpha1.TeamTalkMessage) bool {
	return func(m *v1alpha1.TeamTalkMessage) bool {
		c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == v1alpha1.ReasonGroupNotReady && strings.Contains(c.Message, says)
	}
}

// TestGroupRef: a message that is applied with its TeamTalkGroup waits for it, and is delivered once.
func TestGroupRef(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	m := x.Declare("m", "hello", toRefs("oncall"), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(x.Bob)}
	})
	m = x.AwaitMessage(m, "waiting", waitsFor("does not exist"))
	g := x.declareGroup("oncall", ofUsers(x.Alice, 1_999_999))
	m = x.AwaitMessage(m, "waiting", waitsFor("reason MembersNotFound"))
	if len(x.Rows()) > 0 {
		t.Errorf("sent before that: %+v", x.Rows())
	}
	x.setMembers(g, x.Alice)
	g = x.awaitGroup(g, v1alpha1.ReasonReady)
	m = x.AwaitDelivered(m)
	x.checkDelivered(m)
	id := int64(*g.Status.GroupID)
	if r := refOf(m, "oncall"); r.ID != id || r.Type != v1alpha1.RecipientGroup || r.Name != "" || len(m.Status.Recipients) != 2 {
		t.Errorf("%+v", m.Status.Recipients)
	}
	// By its id, too: it has the message once.
	twice := x.Deliver("twice", "again", toRefs("oncall"), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(id)}
	})
	if len(twice.Status.Recipients) != 1 || twice.Status.RecipientsSummary != "1/1" {
		t.Errorf("%+v", twice.Status)
	}
	rows := x.CheckRows(3)
	if n := len(slices.DeleteFunc(rows, func(r devserver.StoredMessage) bool { return r.To != uint32(id) })); n != 2 {
		t.Errorf("%d messages are for the group", n)
	}
}

// TestGroupRefRefused: a TeamTalkGroup of another server is refused, and others get the message. One that is not there
// in time is not waited for.
func TestGroupRefRefused(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.declareGroup("elsewhere", func(g *v1alpha1.TeamTalkGroup) { g.Spec.ServerRef = &v1alpha1.ServerReference{Name: "another"} })
	m := x.Declare("m", "hello", toRefs("elsewhere"), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}
	})
	m = x.AwaitMessage(m, "finished", finishedFor(v1alpha1.ReasonPartiallyDelivered))
	r := refOf(m, "elsewhere")
	if r.ID != 0 || r.State != v1alpha1.StateFailed || r.Reason != v1alpha1.ReasonGroupNotFound || !strings.Contains(r.Message, `/another"`) {
		t.Errorf("%+v", r)
	}
	late := x.Declare("late", "hello", toRefs("missing"), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.ActiveDeadlineSeconds = new(int64(3))
	})
	x.checkFailed(x.AwaitMessage(late, "finished", finishedFor(v1alpha1.ReasonDeadlineExceeded)), v1alpha1.ReasonDeadlineExceeded)
	x.CheckRows(1)
}

// TestGroupRefResolvedOnce: the id is recorded before anything is sent. What the TeamTalkGroup is later does not matter,
// neither to this operator nor to the next one.
func TestGroupRefResolvedOnce(t *testing.T) {
	t.Parallel()
	x := newTenantOf(t, newCluster(t))
	g := x.awaitGroup(x.declareGroup("oncall", ofUsers(x.Alice)), v1alpha1.ReasonReady)
	id := *g.Status.GroupID
	x.Deliver("before", "hello", toGroups(uint32(id))) // absence from a group is proved by an older row
	x.AddFault(devserver.Fault{Kind: devserver.Drop, Command: wire.CommandMsgData})
	m := x.Declare("m", "to the first one", toRefs("oncall"))
	isRecorded := func(m *v1alpha1.TeamTalkMessage) bool { return refOf(m, "oncall").ID == int64(id) }
	if x.AwaitMessage(m, "recorded", isRecorded); len(x.Rows()) > 1 {
		t.Errorf("sent before that: %+v", x.Rows())
	}
	x.Delete(g)
	again := x.awaitGroup(x.declareGroup("oncall", ofUsers(x.Bob)), v1alpha1.ReasonReady)
	if *again.Status.GroupID == id {
		t.Fatalf("another resource has group %d", id)
	}
	x.StopLeader()
	x.TeamTalk.Faults().Clear()
	x.StartLeader()
	if m = x.AwaitDelivered(m); !isRecorded(m) {
		t.Errorf("%+v", m.Status.Recipients)
	}
	for _, row := range x.CheckRows(2) {
		if row.To != uint32(id) {
			t.Errorf("stored for another one: %+v", row)
		}
	}
}
