// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	notRead      = "Not read within 1 second:\n"
	notDelivered = "Did not reach all who must read it:\n"
)

// escalate has a message escalated that was not read after so many seconds.
func escalate(seconds int32, to v1alpha1.Recipients) messageEdit {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{DeadlineSeconds: &seconds, EscalateTo: &to}
	}
}

func users(ids ...uint32) (to v1alpha1.Recipients) {
	for _, id := range ids {
		to.Users = append(to.Users, v1alpha1.UserID(id))
	}
	return to
}

func groups(ids ...uint32) (to v1alpha1.Recipients) {
	for _, id := range ids {
		to.Groups = append(to.Groups, v1alpha1.GroupID(id))
	}
	return to
}

// escalatedFor reports whether the condition Escalated has a status and a reason.
func escalatedFor(status metav1.ConditionStatus, reason string) func(*v1alpha1.TeamTalkMessage) bool {
	return func(m *v1alpha1.TeamTalkMessage) bool {
		c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionEscalated)
		return c != nil && c.Status == status && c.Reason == reason
	}
}

// awaitEscalated waits until a message was escalated to all in escalateTo.
func (x *tenant) awaitEscalated(m *v1alpha1.TeamTalkMessage) *v1alpha1.TeamTalkMessage {
	x.Helper()
	m = x.AwaitMessage(m, "escalated", escalatedFor(metav1.ConditionTrue, v1alpha1.ReasonDelivered))
	e := m.Status.Escalation
	if m.Escalating() || !m.Status.Finished || m.Status.Settled != (m.Spec.TTLSecondsAfterFinished == nil) ||
		e.Counts.Routed != e.Counts.Recipients || int(e.Counts.Recipients) != len(e.Recipients) {
		x.Errorf("%s: finished %v, settled %v, %+v", m.Name, m.Status.Finished, m.Status.Settled, e)
	}
	return m
}

// TestEscalation: what is not read in time goes to others, once, and to who is in both lists in both roles. What the
// status says of the message itself does not change.
func TestEscalation(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	to := groups(x.OnCall)
	to.Users = users(x.Alice, x.Mate).Users
	m := x.Declare("m", "disk full", toUsers(x.Alice), escalate(1, to), func(m *v1alpha1.TeamTalkMessage) { m.Spec.SenderID = nil })
	x.Must(x.kubectlWait("ttm/m", "Escalated", framework.Timeout))
	m = x.awaitEscalated(m)
	x.checkDelivered(m)
	x.checkReads(m, "0/1", true, 0)
	if e := m.Status.Escalation; e.Reason != v1alpha1.ReasonReadDeadlineExceeded || e.StartTime.Before(m.Status.CompletionTime) ||
		e.FirstLine+"\n" != notRead || e.CompletionTime.Before(e.StartTime) || len(m.Status.Recipients) != 1 {
		t.Errorf("%+v", m.Status)
	}
	x.AwaitEvent("m", v1alpha1.ReasonEscalated)
	x.checkRowTexts(map[string]int{"disk full": 1, notRead + "disk full": 3})
	tokens := map[string]bool{}
	for _, row := range x.Rows() {
		tokens[row.Token] = true
		if row.Routed != 1 || row.From != x.Bot {
			t.Errorf("%+v", row)
		}
	}
	for _, r := range append(m.Status.Escalation.Recipients, m.Status.Recipients...) {
		id := delivery.DeliveryID{Identity: delivery.Identity{UID: m.UID}, Sender: x.Bot, Recipient: r.Recipient()}
		escalated := id
		escalated.Role = delivery.RoleEscalation
		if r.State != v1alpha1.StateRouted || r.Attempts != 1 || !tokens[escalated.Token().String()] && !tokens[id.Token().String()] {
			t.Errorf("%+v", r)
		}
	}
	if len(tokens) != 4 {
		t.Errorf("%d tokens", len(tokens))
	}
	// It is not escalated again when the policy is due again.
	x.Patch(m, `{"spec":{"readPolicy":{"deadlineSeconds":3600}}}`)
	m = x.AwaitMessage(m, "due again", hasRead(metav1.ConditionFalse, v1alpha1.ReasonUnread))
	x.Patch(m, `{"spec":{"readPolicy":{"deadlineSeconds":1}}}`)
	x.AwaitMessage(m, "settled again", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.Settled })
	x.CheckRows(4)
}

// TestNotEscalated: a message that enough recipients read in time is not escalated.
func TestNotEscalated(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	m := x.Deliver("m", "hello", toUsers(x.Alice, x.Bob), escalate(120, groups(x.OnCall)), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.ReadPolicy.Quorum = new(int32(1))
	})
	if e := m.Status.Escalation; m.Status.Settled || e == nil || e.StartTime != nil || e.Counts.Recipients != 1 ||
		meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionEscalated) != nil {
		t.Errorf("%+v", m.Status)
	}
	x.read(x.Alice, framework.ChatOf(x.Bot, x.Alice))
	m = x.AwaitMessage(m, "read", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead))
	x.checkReads(m, "1/2", true, 1, 0)
	if m.Status.Escalation != nil {
		t.Errorf("%+v", m.Status.Escalation)
	}
	x.CheckRows(2)
}

// TestEscalationOfUndelivered: what came to fewer recipients than must read it is escalated at once.
func TestEscalationOfUndelivered(t *testing.T) {
	t.Parallel()
	const absent = 500_003
	x := newTenantWithTeamTalk(t)
	failed := x.Declare("failed", "nobody", toUsers(absent), escalate(3600, users(x.Alice)))
	failed = x.awaitEscalated(failed)
	if !finishedFor(v1alpha1.ReasonRecipientNotFound)(failed) || failed.Status.Escalation.Reason != v1alpha1.ReasonNotRouted ||
		!hasRead(metav1.ConditionFalse, v1alpha1.ReasonNotRouted)(failed) {
		t.Errorf("%+v", failed.Status)
	}
	// It was sent, so it cannot become another message.
	if err := x.TryPatch(failed, `{"spec":{"content":{"text":"another"}}}`); !apierrors.IsInvalid(err) {
		t.Errorf("an edit: %v", err)
	}
	chinese := x.Declare("chinese", "无人", toUsers(absent), escalate(3600, users(x.Alice)), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.Language = v1alpha1.LanguageChinese
	})
	x.awaitEscalated(chinese)
	x.checkRowTexts(map[string]int{notDelivered + "nobody": 1, "未能送达所有须阅读的接收人：\n无人": 1})
	// A retry delivers the message itself, and escalates nothing again.
	x.Must(x.TeamTalk.AddUser(framework.User(absent)))
	x.Patch(failed, fmt.Sprintf(`{"metadata":{"annotations":{%q:"1"}}}`, v1alpha1.RetryAnnotation))
	x.AwaitDelivered(failed)
	x.read(absent, framework.ChatOf(x.Bot, absent))
	x.AwaitMessage(failed, "read", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead))
	x.checkRowTexts(map[string]int{notDelivered + "nobody": 1, "未能送达所有须阅读的接收人：\n无人": 1, "nobody": 1})
}

// TestEscalationByName: names in escalateTo are looked up when the message is taken up. One that nobody has, or a group
// that is not Ready, does not delay the message, nor the other recipients of the escalation.
func TestEscalationByName(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.Timeout = namesPatience
	to := v1alpha1.Recipients{
		UserNames: []string{login(x.Bob), "nobody"}, GroupNames: []string{"oncall"}, GroupRefs: []v1alpha1.GroupReference{{Name: "later"}},
	}
	to.Users = users(x.Bob).Users
	m := x.Deliver("m", "hello", toNames([]string{login(x.Alice)}), escalate(3600, to))
	e := m.Status.Escalation
	if e == nil || e.Counts.Recipients != 4 || e.Recipients[1].ID != 0 || e.Recipients[1].Reason != v1alpha1.ReasonRecipientNotFound ||
		e.Recipients[2].ID != int64(x.OnCall) || e.Recipients[3].Reason != v1alpha1.ReasonGroupNotReady {
		t.Errorf("%+v", e)
	}
	x.rename(x.Bob, "renamed")
	x.rename(x.Mate, login(x.Bob)) // too late
	x.Patch(m, `{"spec":{"readPolicy":{"deadlineSeconds":1}}}`)
	x.AwaitRows(3)
	m = x.AwaitMessage(m, "waiting for the group", escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonGroupNotReady))
	g := x.declareGroup("later", ofUsers(x.Alice))
	g = x.awaitGroup(g, v1alpha1.ReasonReady)
	m = x.AwaitMessage(m, "escalated", escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonPartiallyDelivered))
	if e = m.Status.Escalation; e.Counts.Routed != 3 || e.Counts.Failed != 1 || e.Recipients[3].ID != int64(*g.Status.GroupID) || !m.Status.Settled {
		t.Errorf("%+v", e)
	}
	x.checkRowTexts(map[string]int{"hello": 1, notRead + "hello": 3})
}

// TestEscalationIsRetried: a retry tries again what failed of an escalation with nothing stored, and nothing else.
func TestEscalationIsRetried(t *testing.T) {
	t.Parallel()
	const absent = 500_004
	x := newTenantWithTeamTalk(t)
	m := x.Deliver("m", "hello", escalate(1, users(x.Bob, absent)))
	m = x.AwaitMessage(m, "escalated in part", func(m *v1alpha1.TeamTalkMessage) bool {
		return escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonPartiallyDelivered)(m) && m.Status.Settled
	})
	x.Must(x.TeamTalk.AddUser(framework.User(absent)))
	x.Patch(m, fmt.Sprintf(`{"metadata":{"annotations":{%q:"1"}}}`, v1alpha1.RetryAnnotation))
	x.checkDelivered(x.awaitEscalated(m))
	x.checkRowTexts(map[string]int{"hello": 1, notRead + "hello": 2})
}

// TestEscalationIsSuspended: a message that is suspended at its deadline can be read until the suspension ends. If it was
// not read then, it is escalated.
func TestEscalationIsSuspended(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	read := x.Deliver("read", "read", toUsers(x.Alice), escalate(3600, users(x.Mate)))
	unread := x.Deliver("unread", "unread", toUsers(x.Bob), escalate(3600, users(x.Mate)))
	for _, m := range []*v1alpha1.TeamTalkMessage{read, unread} {
		x.Patch(m, `{"spec":{"suspend":true,"readPolicy":{"deadlineSeconds":1}}}`)
		m = x.AwaitMessage(m, "suspended", hasRead(metav1.ConditionFalse, v1alpha1.ReasonSuspended))
		x.checkReads(m, "0/1", false, 0)
		if e := m.Status.Escalation; m.Status.Escalated() || e == nil || e.Counts.Recipients != 1 {
			t.Errorf("%+v", e)
		}
	}
	x.read(x.Alice, framework.ChatOf(x.Bot, x.Alice))
	read = x.AwaitMessage(read, "read", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead))
	x.checkReads(read, "1/1", true, 1)
	x.CheckRows(2)
	for _, m := range []*v1alpha1.TeamTalkMessage{read, unread} {
		x.Patch(m, `{"spec":{"suspend":false}}`)
	}
	x.checkReads(x.awaitEscalated(unread), "0/1", true, 0)
	x.AwaitEvent("unread", v1alpha1.ReasonReadDeadlineExceeded)
	if x.Get(read); read.Status.Escalation != nil || !hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead)(read) {
		t.Errorf("%+v", read.Status)
	}
	x.checkRowTexts(map[string]int{"read": 1, "unread": 1, notRead + "unread": 1})
}

// suspendedEscalation returns a message whose escalation has begun and is suspended, with nothing sent to its recipients:
// they wait for TeamTalkGroups.
func (x *tenant) suspendedEscalation(groups ...string) *v1alpha1.TeamTalkMessage {
	x.Helper()
	var to v1alpha1.Recipients
	for _, name := range groups {
		to.GroupRefs = append(to.GroupRefs, v1alpha1.GroupReference{Name: name})
	}
	m := x.Deliver("m", "hello", escalate(1, to))
	x.AwaitMessage(m, "waiting for the groups", escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonGroupNotReady))
	x.Patch(m, `{"spec":{"suspend":true}}`)
	m = x.AwaitMessage(m, "suspended", escalatedFor(metav1.ConditionFalse, v1alpha1.ReasonSuspended))
	if m.Status.Settled || !m.Status.Finished {
		x.Errorf("%+v", m.Status)
	}
	return m
}

// TestEscalationIsSuspendedLater: nothing of an escalation that has begun is sent until the suspension ends.
func TestEscalationIsSuspendedLater(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	m := x.suspendedEscalation("later")
	x.awaitGroup(x.declareGroup("later", ofUsers(x.Alice)), v1alpha1.ReasonReady)
	x.CheckRows(1)
	x.Patch(m, `{"spec":{"suspend":false}}`)
	x.awaitEscalated(m)
	x.checkRowTexts(map[string]int{"hello": 1, notRead + "hello": 1})
}

// inEscalation returns a message whose escalation to Bob has been stored and not answered, and to Mate has not been sent.
// On a busy machine, the operator may give up on the answer before the next step of the test, and send to Mate.
func (x *tenant) inEscalation(edits ...messageEdit) *v1alpha1.TeamTalkMessage {
	x.Helper()
	return x.escalateOne(edits, devserver.Fault{Kind: devserver.Late, Delay: 5 * time.Minute, Count: 1})
}

// escalateOne returns a message whose escalation has begun, with the faults, and of which one recipient has it stored.
func (x *tenant) escalateOne(edits []messageEdit, faults ...devserver.Fault) *v1alpha1.TeamTalkMessage {
	x.Helper()
	m := x.Deliver("m", "old", append([]messageEdit{escalate(3600, users(x.Bob, x.Mate))}, edits...)...)
	x.addSendFaults(faults...)
	x.Patch(m, `{"spec":{"readPolicy":{"deadlineSeconds":1}}}`)
	x.AwaitRows(2)
	return m
}

func (x *tenant) addSendFaults(faults ...devserver.Fault) {
	x.Helper()
	for _, f := range faults {
		f.Command = wire.CommandMsgData
		x.AddFault(f)
	}
}

// storeOne are faults: one more message is stored, without an answer, and later ones are dropped.
var storeOne = []devserver.Fault{{Kind: devserver.NoAnswer, Count: 1}, {Kind: devserver.Drop, Skip: 1}}

func suspended(m *v1alpha1.TeamTalkMessage) { m.Spec.Suspend = new(true) }

func oneAtATime(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.MaxInFlight = 1 }

// TestEscalationIsDeleted: after a deletion nothing more is sent.
func TestEscalationIsDeleted(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t, oneAtATime)
	x.checkNothingAfterDeletion(x.escalateOne(nil, storeOne...))
}

// checkNothingAfterDeletion deletes a message of which nothing can be stored at the moment, and checks that nothing of
// it is sent to Bob and Mate after that.
func (x *tenant) checkNothingAfterDeletion(m *v1alpha1.TeamTalkMessage) {
	x.Helper()
	x.deleteAtOnce(m)
	logged := fmt.Sprintf("message deleted while it was sent\t{\"message\": \"%s/", x.Namespace)
	x.Eventually("the operator has dropped it", func() bool { return strings.Contains(x.Cluster.Log.String(), logged) })
	want := x.rowTexts()
	x.TeamTalk.Faults().Clear()
	x.Deliver("later", "later", toUsers(x.Bob)) // behind it
	x.Deliver("latest", "latest", toUsers(x.Mate))
	want["later"], want["latest"] = 1, 1
	x.checkRowTexts(want)
}

// TestEscalationIsSuperseded: an edit with onChange: Resend ends the escalation of the revision before it. The stored
// message is found by its token. The next revision is escalated again.
func TestEscalationIsSuperseded(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t, oneAtATime)
	m := x.inEscalation(resend)
	x.Patch(m, `{"spec":{"content":{"text":"new"}}}`)
	old := x.rowTexts()[notRead+"old"] // 1, unless the patch took longer than the operator waits
	m = x.inRevision(m, 2)
	m = x.awaitEscalated(m)
	x.checkRowTexts(map[string]int{"old": 1, notRead + "old": old, "new": 1, notRead + "new": 2})

	// What has not begun is never sent.
	x.Patch(m, `{"spec":{"readPolicy":{"deadlineSeconds":3600},"content":{"text":"newer"}}}`)
	m = x.inRevision(m, 3)
	if m.Status.Escalated() || m.Status.Settled {
		t.Errorf("%+v", m.Status)
	}
	x.Patch(m, fmt.Sprintf(`{"spec":{"readPolicy":{"deadlineSeconds":1,"escalateTo":{"users":[%d]}},"content":{"text":"newest"}}}`, x.Bob))
	x.inRevision(m, 4)
	x.awaitEscalated(m)
	x.checkRowTexts(map[string]int{
		"old": 1, notRead + "old": old, "new": 1, notRead + "new": 2, "newer": 1, "newest": 1, notRead + "newest": 1,
	})
}

// TestEscalationAndTTL: a TTL begins when the escalation has ended. A tool that creates the message again escalates
// nothing again, and neither does another resource with its key.
func TestEscalationAndTTL(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edit messageEdit
		want map[string]int
	}{
		"by name": {withTTL(0), map[string]int{"hello": 1, notRead + "hello": 1}},
		"by key": {func(m *v1alpha1.TeamTalkMessage) {
			withTTL(0)(m)
			withKey("v1")(m)
		}, map[string]int{"hello": 1, notRead + "hello": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			for range 2 {
				m := x.Declare("m", "hello", toUsers(x.Alice), escalate(1, users(x.Bob)), tc.edit)
				x.awaitGone(m)
				x.checkRowTexts(tc.want)
			}
		})
	}
}

// TestEscalationAcrossHandover: what is due is escalated by the next operator, once. A drain waits for requests in
// flight.
func TestEscalationAcrossHandover(t *testing.T) {
	t.Parallel()
	x := newTenantOf(t, newCluster(t))
	due := x.Deliver("due", "due", toUsers(x.Alice), escalate(20, users(x.Bob)))
	begun := x.Deliver("begun", "begun", toUsers(x.Alice), escalate(1, users(x.Mate)), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.Suspend = new(false)
	})
	x.AddFault(devserver.Fault{Kind: devserver.Late, Command: wire.CommandMsgData, Delay: time.Second})
	x.AwaitRows(3)
	x.StopLeader()
	x.TeamTalk.Faults().Clear()
	if x.Get(begun); begun.Status.Escalation.Counts.Stored != 1 {
		t.Errorf("after the drain: %+v", begun.Status.Escalation)
	}
	x.StartLeader()
	x.awaitEscalated(begun)
	x.awaitEscalated(due)
	x.checkRowTexts(map[string]int{"due": 1, "begun": 1, notRead + "begun": 1, "Not read within 20 seconds:\ndue": 1})
}

// TestEscalationIsValidated: what could not be escalated is refused at once.
func TestEscalationIsValidated(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	many := func(n uint32) (to v1alpha1.Recipients) {
		for i := range n {
			to.Users = append(to.Users, v1alpha1.UserID(1_000_000+i))
		}
		return to
	}
	audio := v1alpha1.AudioContent{Seconds: 4, ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: "voice", Key: "note"}}
	for name, edit := range map[string]messageEdit{
		"nobody":   escalate(1, v1alpha1.Recipients{}),
		"too-many": escalate(1, many(1000)),
		"to-itself": func(m *v1alpha1.TeamTalkMessage) {
			escalate(1, users(x.Mate))(m)
			m.Spec.SenderID = new(v1alpha1.UserID(x.Mate))
		},
		"audio": func(m *v1alpha1.TeamTalkMessage) {
			escalate(1, users(x.Mate))(m)
			withContent(v1alpha1.Content{Audio: &audio})(m)
		},
		"language": func(m *v1alpha1.TeamTalkMessage) { escalate(1, users(x.Mate))(m); m.Spec.Language = "fr" },
	} {
		if err := x.Cluster.Admin.Create(x.Context(), x.Message(name, "hello", edit)); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	x.Create(x.Message("most", "hello", escalate(1, many(999)), suspended))
	long := x.Declare("long", strings.Repeat("x", 3051), escalate(1, users(x.Mate)))
	long = x.AwaitMessage(long, "refused", finishedFor(v1alpha1.ReasonContentTooLong))
	if c := meta.FindStatusCondition(long.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, "first line") {
		t.Errorf("%+v", c)
	}
	x.CheckRows(0)
}
