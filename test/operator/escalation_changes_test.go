// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// annotate sets an annotation of a message.
func (x *tenant) annotate(m *v1alpha1.TeamTalkMessage, name, value string) {
	x.Helper()
	x.Patch(m, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, name, value))
}

// TestEscalationWaitsForGroup: a TeamTalkGroup that is not Ready delays no other recipient, and while one is sent to,
// the status does not say that the escalation waits.
func TestEscalationWaitsForGroup(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	to := users(x.Bob)
	to.GroupRefs = []v1alpha1.GroupReference{{Name: "later"}}
	m := x.Deliver("m", "hello", escalate(3600, to))
	x.AddFault(devserver.Fault{Kind: devserver.Late, Command: wire.CommandMsgData, Delay: framework.Timeout, Count: 1})
	x.Patch(m, `{"spec":{"readPolicy":{"deadlineSeconds":1}}}`)
	x.AwaitRows(2)
	m = x.AwaitMessage(m, "in doubt", func(m *v1alpha1.TeamTalkMessage) bool {
		return m.Status.Escalated() && m.Status.Escalation.Recipients[1].Reason == v1alpha1.ReasonGroupNotReady
	})
	if e := m.Escalation(); e.Status.WaitsUnsent() {
		t.Errorf("%+v proves that nothing is sent", e.Status)
	}
	x.TeamTalk.Faults().Clear()
	m = x.AwaitMessage(m, "waiting for the group", escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonGroupNotReady))
	if e := m.Status.Escalation; e.Counts.Routed != 1 {
		t.Errorf("%+v", e)
	}
	x.awaitGroup(x.declareGroup("later", ofUsers(x.Alice)), v1alpha1.ReasonReady)
	x.awaitEscalated(m)
	x.checkRowTexts(map[string]int{"hello": 1, notRead + "hello": 2})
}

// TestEscalationContinuesWhileDue: after a hand-over, an escalation also continues if its message has to be read again.
func TestEscalationContinuesWhileDue(t *testing.T) {
	t.Parallel()
	x := newTenantOf(t, newCluster(t))
	m := x.Deliver("m", "hello", escalate(1, v1alpha1.Recipients{GroupRefs: []v1alpha1.GroupReference{{Name: "later"}}}))
	x.AwaitMessage(m, "waiting for the group", escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonGroupNotReady))
	x.Patch(m, `{"spec":{"readPolicy":{"deadlineSeconds":3600}}}`)
	x.AwaitMessage(m, "due again", hasRead(metav1.ConditionFalse, v1alpha1.ReasonUnread))
	x.StopLeader()
	x.StartLeader()
	x.awaitGroup(x.declareGroup("later", ofUsers(x.Alice)), v1alpha1.ReasonReady)
	x.AwaitMessage(m, "escalated", func(m *v1alpha1.TeamTalkMessage) bool { return !m.Escalating() })
	x.checkRowTexts(map[string]int{"hello": 1, notRead + "hello": 1})
}

// TestEscalationIsResolved: what was not sent of an escalation is not sent any more when the alerts are resolved.
func TestEscalationIsResolved(t *testing.T) {
	t.Parallel()
	t.Run("before anything is sent", func(t *testing.T) {
		t.Parallel()
		x := newTenantWithTeamTalk(t)
		m := x.suspendedEscalation("later", "latest")
		x.annotate(m, v1alpha1.ResolvedAnnotation, "now")
		m = x.AwaitMessage(m, "resolved", escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonAlertResolved))
		if e := m.Status.Escalation; !m.Status.Settled || e.Counts.Failed != 2 || e.CompletionTime == nil {
			t.Errorf("settled %v, %+v", m.Status.Settled, e)
		}
		x.Patch(m, `{"spec":{"suspend":false}}`)
		x.annotate(m, v1alpha1.RetryAnnotation, "1")
		m = x.AwaitMessage(m, "retried", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.Settled && !m.RetryAsked() })
		if !escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonAlertResolved)(m) {
			t.Errorf("%+v", m.Status)
		}
		x.AwaitEvent("m", v1alpha1.ReasonAlertResolved)
		x.CheckRows(1)
	})
	t.Run("sent in part", func(t *testing.T) {
		t.Parallel()
		for range 5 {
			x := newTenantWithTeamTalk(t, oneAtATime)
			m := x.inEscalation()
			x.annotate(m, v1alpha1.ResolvedAnnotation, "now")
			m = x.AwaitMessage(m, "resolved", func(m *v1alpha1.TeamTalkMessage) bool {
				r := m.Status.Escalation.Recipients[1]
				return r.Reason == v1alpha1.ReasonAlertResolved || r.State == v1alpha1.StateRouted
			})
			if m.Status.Escalation.Recipients[1].State == v1alpha1.StateRouted {
				t.Log("the operator has given up on the answer before the alert was resolved")
				continue
			}
			x.TeamTalk.Faults().Clear()
			m = x.AwaitMessage(m, "ended", escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonPartiallyDelivered))
			if e := m.Status.Escalation; e.Counts.Routed != 1 || e.Counts.Failed != 1 {
				t.Errorf("%+v", e)
			}
			x.checkRowTexts(map[string]int{"old": 1, notRead + "old": 1})
			return
		}
		t.Error("no alert was resolved in time")
	})
}

// TestEscalationIsRetriedAfterIt: a retry that is asked for while an escalation is under way tries again what has failed
// of it by its end.
func TestEscalationIsRetriedAfterIt(t *testing.T) {
	t.Parallel()
	const absent = 500_005
	x := newTenantWithTeamTalk(t)
	m := x.Deliver("m", "hello", escalate(3600, users(absent, x.Bob)))
	x.AddFault(devserver.Fault{Kind: devserver.Late, Command: wire.CommandMsgData, Delay: framework.Timeout, Count: 1})
	x.Patch(m, `{"spec":{"readPolicy":{"deadlineSeconds":1}}}`)
	m = x.AwaitMessage(m, "failed for one", func(m *v1alpha1.TeamTalkMessage) bool {
		return m.Status.Escalated() && m.Status.Escalation.Recipients[0].State == v1alpha1.StateFailed
	})
	x.Must(x.TeamTalk.AddUser(framework.User(absent)))
	x.annotate(m, v1alpha1.RetryAnnotation, "1")
	x.TeamTalk.Faults().Clear()
	m = x.awaitEscalated(m)
	if m.RetryAsked() {
		t.Errorf("%+v", m.Status)
	}
	x.checkRowTexts(map[string]int{"hello": 1, notRead + "hello": 2})
}

// TestEscalationIsDeletedWithRetry: after a deletion nothing more is sent, also if the message itself is being retried.
func TestEscalationIsDeletedWithRetry(t *testing.T) {
	t.Parallel()
	const absent = 500_006
	x := newTenantWithTeamTalk(t, oneAtATime)
	x.addSendFaults(storeOne...)
	m := x.Declare("m", "old", toUsers(absent), escalate(3600, users(x.Bob, x.Mate)))
	x.AwaitRows(1)
	m = x.AwaitMessage(m, "failed", finishedFor(v1alpha1.ReasonRecipientNotFound))
	x.Must(x.TeamTalk.AddUser(framework.User(absent)))
	x.annotate(m, v1alpha1.RetryAnnotation, "1")
	m = x.AwaitMessage(m, "retried", func(m *v1alpha1.TeamTalkMessage) bool { return !m.Status.Finished && m.Escalating() })
	x.checkNothingAfterDeletion(m)
}

// TestEscalationIsShown: the events of a message say what is about its escalation.
func TestEscalationIsShown(t *testing.T) {
	t.Parallel()
	const absent = 500_007
	x := newTenantWithTeamTalk(t)
	m := x.Deliver("m", "hello", escalate(1, users(absent)))
	x.AwaitMessage(m, "failed", escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonRecipientNotFound))
	x.AwaitEvent("m", v1alpha1.ReasonEscalated)
	x.AwaitEvent("m", v1alpha1.ReasonRecipientNotFound)
	for _, e := range x.Events("m") {
		want := map[string]string{
			v1alpha1.ReasonEscalated:         "not enough recipients have read it in time: escalated to 1 recipient",
			v1alpha1.ReasonRecipientNotFound: "escalation: ",
		}[e.Reason]
		if !strings.HasPrefix(e.Note, want) {
			t.Errorf("%s: %q", e.Reason, e.Note)
		}
	}
}

// TestEscalationOfReusedKey: resources with one key and the same text are escalated once, whatever their first lines are.
// Another text is not escalated in the place of the first one, nor does it count as sent.
func TestEscalationOfReusedKey(t *testing.T) {
	t.Parallel()
	const other = 500_009
	x := newTenantWithTeamTalk(t)
	x.Must(x.TeamTalk.AddUser(framework.User(other)))
	first := x.Declare("first", "one", withKey("k"), toUsers(x.Alice), escalate(1, users(x.Bob)))
	x.awaitEscalated(first)
	same := x.Declare("same", "one", withKey("k"), toUsers(x.Mate), escalate(2, users(x.Bob)))
	x.awaitEscalated(same)
	another := x.Declare("another", "two", withKey("k"), toUsers(x.Alice), escalate(1, users(x.Bob)))
	another = x.AwaitMessage(another, "refused", finishedFor(v1alpha1.ReasonKeyReused))
	if another.Status.Escalated() || !another.Status.Settled {
		t.Errorf("%+v", another.Status)
	}
	elsewhere := x.Declare("elsewhere", "two", withKey("k"), toUsers(other), escalate(1, users(x.Bob)))
	x.AwaitMessage(elsewhere, "refused for the escalation", escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonKeyReused))
	x.checkRowTexts(map[string]int{"one": 2, "two": 1, notRead + "one": 1})
}
