// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// read has a user read a conversation, as a client does it.
func (x *tenant) read(user uint32, session string) {
	x.Helper()
	x.Must(framework.ReadConversation(x.Context(), x.TeamTalk.InboxURL(), user, session))
}

// hasRead reports whether the condition Read has a status and a reason; "": there is none.
func hasRead(status metav1.ConditionStatus, reason string) func(*v1alpha1.TeamTalkMessage) bool {
	return func(m *v1alpha1.TeamTalkMessage) bool {
		c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead)
		return c == nil && status == "" || c != nil && c.Status == status && c.Reason == reason
	}
}

func withReadPolicy(quorum, seconds int32) messageEdit {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{DeadlineSeconds: &seconds}
		if quorum > 0 {
			m.Spec.ReadPolicy.Quorum = &quorum
		}
	}
}

// checkReads checks what the status says of reads, and that they change neither Ready nor what tools make of it.
func (x *tenant) checkReads(m *v1alpha1.TeamTalkMessage, summary string, settled bool, readBy ...int32) {
	x.Helper()
	if m.Status.ReadSummary != summary || m.Status.Settled != settled || !readyFor("True", v1alpha1.ReasonDelivered)(m) {
		x.Errorf("%s: read %q, settled %v, conditions %+v", m.Name, m.Status.ReadSummary, m.Status.Settled, m.Status.Conditions)
	}
	var read int32
	for i, r := range m.Status.Recipients {
		if r.ReadBy != readBy[i] || (r.ReadAt != nil) != (readBy[i] > 0) || r.ReadAt != nil && r.ReadAt.Before(r.RoutedAt) {
			x.Errorf("%s: recipient %+v, want it to be read by %d", m.Name, r, readBy[i])
		}
		if readBy[i] > 0 {
			read++
		}
	}
	if m.Status.Counts.Read != read {
		x.Errorf("%s: counts %+v, want %d to be read", m.Name, m.Status.Counts, read)
	}
}

// TestRead: without a readPolicy, the first read and the last are recorded.
func TestRead(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	m := x.Deliver("m", "hello", toUsers(x.Alice, x.Bob, x.Mate))
	x.checkReads(m, "0/3", true, 0, 0, 0)
	x.read(x.Bot, framework.ChatOf(x.Bot, x.Alice)) // the sender's own phone
	x.read(x.Alice, framework.ChatOf(x.Bot, x.Alice))
	m = x.AwaitMessage(m, "read by one", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.Counts.Read > 0 })
	x.checkReads(m, "1/3", true, 1, 0, 0)
	if !hasRead("", "")(m) {
		t.Errorf("conditions %+v", m.Status.Conditions)
	}
	first := m.Status.Recipients[0]
	x.read(x.Bob, framework.ChatOf(x.Bot, x.Bob))
	x.read(x.Mate, framework.ChatOf(x.Bot, x.Mate))
	m = x.AwaitMessage(m, "read by all", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead))
	x.checkReads(m, "3/3", true, 1, 1, 1)
	if again := m.Status.Recipients[0]; !again.ReadAt.Equal(first.ReadAt) {
		t.Errorf("read at %v, and before at %v", again.ReadAt, first.ReadAt)
	}
	// A later message is unread, and an edit of another field keeps the recorded reads.
	later := x.Deliver("later", "hello again", toUsers(x.Alice))
	x.checkReads(later, "0/1", true, 0)
	x.Patch(m, `{"spec":{"retryLimit":3}}`)
	m = x.AwaitMessage(m, "observed", func(now *v1alpha1.TeamTalkMessage) bool {
		return now.Finished() && now.Status.ObservedGeneration == m.Generation+1
	})
	x.checkReads(m, "3/3", true, 1, 1, 1)
}

// TestReadPolicy: a pipeline waits until a quorum has read, or the deadline has passed.
func TestReadPolicy(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	group := fmt.Sprintf("group:%d", x.OnCall)
	m := x.Deliver("m", "hello", withReadPolicy(2, 3600), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(x.Alice), v1alpha1.UserID(x.Bob)}
		m.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(x.OnCall)}
	})
	x.checkReads(m, "0/3", false, 0, 0, 0)
	if !hasRead(metav1.ConditionFalse, v1alpha1.ReasonUnread)(m) {
		t.Errorf("conditions %+v", m.Status.Conditions)
	}
	x.read(x.Bot, group) // the sender's own phone
	x.read(x.Alice, group)
	m = x.AwaitMessage(m, "read by a member", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.Counts.Read > 0 })
	x.checkReads(m, "1/3", false, 0, 0, 1)
	if err := x.kubectlWait("ttm/m", "Read", 0); err == nil {
		t.Error("Read is met before the quorum has read")
	}
	x.read(x.Bob, framework.ChatOf(x.Bot, x.Bob))
	x.Must(x.kubectlWait("ttm/m", "Read", framework.Timeout))
	x.Get(m)
	x.checkReads(m, "2/3", true, 0, 1, 1)
}

// TestReadDeadline: it is told when the deadline passes, and a longer one makes the policy due again.
func TestReadDeadline(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	m := x.Deliver("m", "hello", withReadPolicy(0, 2))
	x.Must(x.kubectlWait("ttm/m", "Read=False", framework.Timeout))
	m = x.AwaitMessage(m, "told", hasRead(metav1.ConditionFalse, v1alpha1.ReasonReadDeadlineExceeded))
	x.checkReads(m, "0/1", true, 0)
	x.AwaitEvent("m", v1alpha1.ReasonReadDeadlineExceeded)

	x.Patch(m, `{"spec":{"readPolicy":{"deadlineSeconds":3600}}}`)
	m = x.AwaitMessage(m, "due again", hasRead(metav1.ConditionFalse, v1alpha1.ReasonUnread))
	x.checkReads(m, "0/1", false, 0)
	x.Eventually("it is not read", func() bool {
		x.read(x.Alice, framework.ChatOf(x.Bot, x.Alice)) // until it is looked after again
		x.Get(m)
		return m.Status.Counts.Read == 1
	})
	m = x.AwaitMessage(m, "read", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead))
	x.checkReads(m, "1/1", true, 1)
}

// TestReadPolicyAndTTL: a TTL begins when a message is delivered and read.
func TestReadPolicyAndTTL(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	m := x.Deliver("m", "hello", withReadPolicy(0, 3600), withTTL(0), toUsers(x.Alice))
	probe := x.Declare("probe", "hello", withTTL(0), toUsers(x.Bob))
	isGone := func(m *v1alpha1.TeamTalkMessage) bool {
		return apierrors.IsNotFound(x.Cluster.Admin.Get(x.Context(), client.ObjectKeyFromObject(m), m.DeepCopy()))
	}
	x.Eventually("the message without a policy is kept", func() bool { return isGone(probe) })
	x.Get(m)
	x.checkReads(m, "0/1", false, 0)
	x.read(x.Alice, framework.ChatOf(x.Bot, x.Alice))
	x.Eventually("the message that was read is kept", func() bool { return isGone(m) })
}

// TestReadOfRevision: reads are of the current revision. An edit that adds a recipient keeps them.
func TestReadOfRevision(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	m := x.Deliver("m", "one", resend, toUsers(x.Alice))
	x.read(x.Alice, framework.ChatOf(x.Bot, x.Alice))
	m = x.AwaitMessage(m, "read", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead))

	x.Patch(m, fmt.Sprintf(`{"spec":{"to":{"users":[%d,%d]}}}`, x.Alice, x.Bob))
	m = x.inRevision(m, 2)
	x.checkReads(m, "1/2", true, 1, 0)

	x.Patch(m, `{"spec":{"content":{"text":"two"}}}`)
	m = x.inRevision(m, 3)
	x.checkReads(m, "0/2", true, 0, 0)
	if read := m.Status.Revisions[1].Counts.Read; read != 1 {
		t.Errorf("revision 2 was read by %d", read)
	}
	x.read(x.Alice, framework.ChatOf(x.Bot, x.Alice))
	x.read(x.Bob, framework.ChatOf(x.Bot, x.Bob))
	m = x.AwaitMessage(m, "read", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead))
	x.checkReads(m, "2/2", true, 1, 1)
}

// TestReadAcrossRestart: a message that is to be read is looked after by the next operator. What may have been read while
// nobody listened is Unknown, unless its counter shows that it is unread.
func TestReadAcrossRestart(t *testing.T) {
	t.Parallel()
	x := newTenantOf(t, newCluster(t))
	group := fmt.Sprintf("group:%d", x.OnCall)
	toGroup := func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Users, m.Spec.To.Groups = nil, []v1alpha1.GroupID{v1alpha1.GroupID(x.OnCall)}
	}
	unread := x.Deliver("unread", "to Alice", withReadPolicy(0, 3600), toUsers(x.Alice))
	missed := x.Deliver("missed", "to Bob", withReadPolicy(0, 3600), toUsers(x.Bob))
	ofGroup := x.Deliver("of-group", "to the group", withReadPolicy(0, 3600), toGroup)
	short := x.Deliver("short", "to Mate", withReadPolicy(0, 20), toUsers(x.Mate))
	partly := x.Deliver("partly", "to both", withReadPolicy(0, 3600), toUsers(x.Alice, x.Bob))
	x.read(x.Bob, framework.ChatOf(x.Bot, x.Bob))
	x.AwaitMessage(partly, "read by one", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.Counts.Read == 1 })
	x.AwaitMessage(missed, "read", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead))
	missed = x.Deliver("missed-2", "to Bob again", withReadPolicy(0, 3600), toUsers(x.Bob))

	flushed := x.Deliver("flushed", "to Mate", withReadPolicy(0, 3600), toUsers(x.Mate))

	x.StopLeader()
	x.read(x.Bob, framework.ChatOf(x.Bot, x.Bob))
	// A Redis that was flushed has no counters: as if everything were read.
	x.AddFault(devserver.Fault{Kind: devserver.EmptyList, Command: wire.CommandUnreadCntReq, From: x.Mate})
	x.StartLeader()

	missed = x.AwaitMessage(missed, "unknown", hasRead(metav1.ConditionUnknown, v1alpha1.ReasonReadsMissed))
	x.checkReads(missed, "0/1", false, 0)
	x.AwaitMessage(ofGroup, "unknown", hasRead(metav1.ConditionUnknown, v1alpha1.ReasonReadsMissed))
	x.checkFlushed(flushed)
	short = x.AwaitMessage(short, "too late", hasRead(metav1.ConditionFalse, v1alpha1.ReasonReadDeadlineExceeded))
	x.checkReads(short, "0/1", true, 0)
	for _, m := range []*v1alpha1.TeamTalkMessage{unread, partly} {
		if x.Get(m); !hasRead(metav1.ConditionFalse, v1alpha1.ReasonUnread)(m) {
			t.Errorf("%s: %+v", m.Name, m.Status.Conditions)
		}
	}

	x.read(x.Alice, framework.ChatOf(x.Bot, x.Alice))
	x.read(x.Bob, framework.ChatOf(x.Bot, x.Bob))
	x.read(x.Alice, group)
	for m, summary := range map[*v1alpha1.TeamTalkMessage]string{unread: "1/1", missed: "1/1", ofGroup: "1/1"} {
		x.checkReads(x.AwaitMessage(m, "read", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead)), summary, true, 1)
	}
	x.checkReads(x.AwaitMessage(partly, "read", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead)), "2/2", true, 1, 1)
}

// checkFlushed checks that a message is at no time shown as read if the counter of its recipient is lost. What may have
// been missed is still told when the deadline passes.
func (x *tenant) checkFlushed(m *v1alpha1.TeamTalkMessage) {
	x.Helper()
	await := func(want string, is func(*v1alpha1.TeamTalkMessage) bool) {
		x.Helper()
		m = framework.AwaitVersion(x.Tenant, m, want, func(m *v1alpha1.TeamTalkMessage) bool {
			if m.Status.Counts.Read > 0 || hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead)(m) {
				x.Errorf("a read is invented: %+v", m.Status)
			}
			return is(m)
		})
	}
	await("unknown", hasRead(metav1.ConditionUnknown, v1alpha1.ReasonReadsMissed))
	x.checkReads(m, "0/1", false, 0)
	if x.TeamTalk.Faults().Fired(devserver.EmptyList) == 0 {
		x.Error("no counter was asked for")
	}
	x.Patch(m.DeepCopy(), `{"spec":{"readPolicy":{"deadlineSeconds":1}}}`)
	await("too late", hasRead(metav1.ConditionFalse, v1alpha1.ReasonReadDeadlineExceeded))
	const want = "read by 0 of 1 routed recipient; 1 recipient may have read it while the operator did not listen to all routers"
	if c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead); c.Message != want {
		x.Errorf("%q, want %q", c.Message, want)
	}
}

// TestReadsAreCoalesced: reads of a message are written once in ten seconds, and without a readPolicy only the first and
// the last.
func TestReadsAreCoalesced(t *testing.T) {
	t.Parallel()
	const members, interval = 20, 10 * time.Second
	x := newTenantWithTeamTalk(t)
	group, all := x.OnCall+10, []uint32{x.Bot}
	for i := range uint32(members) {
		all = append(all, x.Bot+100+i)
		x.Must(x.TeamTalk.AddUser(framework.User(x.Bot + 100 + i)))
	}
	x.Must(x.TeamTalk.AddGroup(group, "all", all...))
	// awaitWrites returns how often the status is written until it is as wanted.
	awaitWrites := func(m *v1alpha1.TeamTalkMessage, want string, is func(*v1alpha1.TeamTalkMessage) bool) (writes int) {
		t.Helper()
		framework.AwaitVersion(x.Tenant, m, want, func(now *v1alpha1.TeamTalkMessage) bool {
			if now.ResourceVersion != m.ResourceVersion {
				writes++
			}
			return is(now)
		})
		return writes
	}
	best := x.Deliver("best-effort", "hello", toUsers(x.Alice, x.Bob, x.Mate))
	x.read(x.Alice, framework.ChatOf(x.Bot, x.Alice))
	best = x.AwaitMessage(best, "read by one", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.Counts.Read == 1 })

	m := x.Deliver("m", "hello", withReadPolicy(2, 3600), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(group)}
	})
	began := time.Now()
	x.read(x.Bob, framework.ChatOf(x.Bot, x.Bob))
	for _, member := range all[1:] {
		x.read(member, fmt.Sprintf("group:%d", group))
	}
	writes := awaitWrites(m, "read by all", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.Recipients[1].ReadBy == members })
	if took := time.Since(began); writes > 1+int(took/interval) {
		t.Errorf("%d reads are written %d times in %s", members, writes, took)
	}
	// Since then, the operator has also looked at the message without a policy: it was read before.
	x.read(x.Mate, framework.ChatOf(x.Bot, x.Mate))
	if writes := awaitWrites(best, "read by all", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead)); writes != 1 {
		t.Errorf("the second read and the last are written %d times, want once", writes)
	}
}

// TestReadThroughAnotherRouter: each router relays the reads of its own message servers, so all are listened to.
func TestReadThroughAnotherRouter(t *testing.T) {
	t.Parallel()
	other := framework.TeamTalkFor(t)
	x := newTenantWithTeamTalk(t, func(s *v1alpha1.TeamTalkServer) {
		s.Spec.Router.Endpoints = append(s.Spec.Router.Endpoints, v1alpha1.Endpoint(other.RouterAddr()))
	})
	m := x.Deliver("m", "hello", withReadPolicy(0, 3600), toUsers(x.Alice))
	notify, err := pdu.New(wire.CommandMsgReadNotify, 0, &wire.IMMsgDataReadNotify{
		UserId: &x.Alice, SessionId: &x.Bot, MsgId: new(uint32(m.Status.Recipients[0].MessageIDs[0])),
		SessionType: wire.SessionType_SESSION_TYPE_SINGLE.Enum(),
	})
	x.Must(err)
	peer := (&framework.Tenant{TB: t, TeamTalk: other}).RouterPeer()
	x.Eventually("it is not read", func() bool {
		_, err := peer.Write(notify.Append(nil)) // until the operator is connected to both
		x.Must(err)
		x.Get(m)
		return m.Status.Counts.Read == 1
	})
	x.checkReads(x.AwaitMessage(m, "read", hasRead(metav1.ConditionTrue, v1alpha1.ReasonRead)), "1/1", true, 1)
}

// TestReadPolicyIsValidated: the API server refuses a policy that cannot be met, and sets the default deadline.
func TestReadPolicyIsValidated(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	for name, edit := range map[string]messageEdit{
		"quorum-above-recipients": withReadPolicy(2, 60), "no-time": withReadPolicy(1, 0), "too-long": withReadPolicy(1, 2592001),
	} {
		if err := x.Cluster.Admin.Create(x.Context(), x.Message(name, "hello", edit)); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := x.Message("defaults", "hello", func(m *v1alpha1.TeamTalkMessage) { m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{} })
	x.Create(m)
	if p := m.Spec.ReadPolicy; p.Quorum != nil || p.DeadlineSeconds == nil || time.Duration(*p.DeadlineSeconds)*time.Second != 24*time.Hour {
		t.Errorf("%+v", p)
	}
}
