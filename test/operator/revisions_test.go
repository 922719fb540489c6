// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func resend(m *v1alpha1.TeamTalkMessage) { m.Spec.OnChange = v1alpha1.OnChangeResend }

// inRevision waits until a revision of a message is delivered to all.
func (x *tenant) inRevision(m *v1alpha1.TeamTalkMessage, number int32) *v1alpha1.TeamTalkMessage {
	x.Helper()
	m = x.AwaitMessage(m, fmt.Sprintf("delivered in revision %d", number), func(m *v1alpha1.TeamTalkMessage) bool {
		return m.Status.Revision() == number && hasReason(v1alpha1.ReasonDelivered)(m) && m.Finished()
	})
	x.checkDelivered(m)
	return m
}

// checkRevision checks what the status says of the nth revision that it keeps, from 0.
func (x *tenant) checkRevision(m *v1alpha1.TeamTalkMessage, n int, recipients, stored, superseded int32) {
	x.Helper()
	r := m.Status.Revisions[n]
	if r.Counts.Recipients != recipients || r.Counts.Stored != stored || r.Superseded != superseded ||
		r.Digest == "" || r.StartTime.IsZero() || r.CompletionTime.IsZero() {
		x.Errorf("revision %d: %+v, want %d recipients, %d stored, %d superseded", r.Number, r, recipients, stored, superseded)
	}
}

// TestRevisions edits a delivered message: a changed text goes to all, and with an unchanged text only new recipients
// get it.
func TestRevisions(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	m := x.Deliver("notice", "one", resend)
	x.checkRevision(m, 0, 1, 1, 0)

	x.Patch(m, `{"spec":{"content":{"text":"two"}}}`)
	m = x.inRevision(m, 2)
	x.checkRevision(m, 0, 1, 1, 0)
	x.checkRevision(m, 1, 1, 1, 0)
	x.AwaitEvent("notice", v1alpha1.ReasonSuperseded)
	first := m.Status.Recipients[0]

	x.Patch(m, fmt.Sprintf(`{"spec":{"to":{"users":[%d,%d],"groups":[%d]}}}`, x.Alice, x.Bob, x.OnCall))
	m = x.inRevision(m, 3)
	if now := m.Status.Recipients[0]; now.ID != first.ID || len(now.MessageIDs) != 1 || now.MessageIDs[0] != first.MessageIDs[0] {
		t.Errorf("the first recipient is %+v, and was %+v", now, first)
	}
	x.checkRowTexts(map[string]int{"one": 1, "two": 3})

	x.Patch(m, fmt.Sprintf(`{"spec":{"to":{"users":[%d],"groups":null},"content":{"text":"three"}}}`, x.Bob))
	m = x.inRevision(m, 4)
	x.checkRowTexts(map[string]int{"one": 1, "two": 3, "three": 1})
	if n := len(m.Status.Revisions); n != 4 || m.Status.Revisions[1].Digest == m.Status.Revisions[3].Digest ||
		m.Status.Revisions[1].Digest != m.Status.Revisions[2].Digest {
		t.Errorf("%d revisions: %+v", n, m.Status.Revisions)
	}

	// A rollback is an edit as well. What is no edit of the content sends nothing.
	x.Patch(m, `{"metadata":{"labels":{"a":"b"}},"spec":{"retryLimit":3,"content":{"text":"one"}}}`)
	m = x.inRevision(m, 5)
	x.Patch(m, `{"metadata":{"annotations":{"a":"b"}},"spec":{"retryLimit":4}}`)
	x.AwaitMessage(m, "observed", func(now *v1alpha1.TeamTalkMessage) bool {
		return now.Finished() && now.Status.ObservedGeneration == m.Generation+1
	})
	x.checkRowTexts(map[string]int{"one": 2, "two": 3, "three": 1})
}

// TestRevisionsAreKept: the status keeps the last ten.
func TestRevisionsAreKept(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	m := x.Deliver("notice", "text 1", resend)
	want := map[string]int{"text 1": 1}
	for n := int32(2); n <= v1alpha1.MaxRevisions+2; n++ {
		text := fmt.Sprintf("text %d", n)
		x.Patch(m, fmt.Sprintf(`{"spec":{"content":{"text":%q}}}`, text))
		m, want[text] = x.inRevision(m, n), 1
	}
	if r := m.Status.Revisions; len(r) != v1alpha1.MaxRevisions || r[0].Number != 3 || r[9].Number != 12 {
		t.Errorf("%+v", r)
	}
	x.checkRowTexts(want)
}

// TestResendIsSetWithTheEdit: one apply sets Resend and changes the text, of a message in any state.
func TestResendIsSetWithTheEdit(t *testing.T) {
	t.Parallel()
	const edit = `{"spec":{"onChange":"Resend","content":{"text":"new"}}}`
	for name, tc := range map[string]struct {
		declare func(*tenant) *v1alpha1.TeamTalkMessage
		// fix lets the message be sent.
		fix  func(*tenant, *v1alpha1.TeamTalkMessage)
		want map[string]int
	}{
		"delivered": {
			declare: func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Deliver("m", "old") },
			want:    map[string]int{"old": 1, "new": 1},
		},
		"failed": {
			declare: func(x *tenant) *v1alpha1.TeamTalkMessage {
				m := x.Declare("m", "old", toUsers(500_001))
				m = x.AwaitMessage(m, "failed", finishedFor(v1alpha1.ReasonRecipientNotFound))
				x.Must(x.TeamTalk.AddUser(framework.User(500_001)))
				return m
			},
			want: map[string]int{"new": 1},
		},
		"suspended": {
			declare: func(x *tenant) *v1alpha1.TeamTalkMessage {
				m := x.Declare("m", "old", func(m *v1alpha1.TeamTalkMessage) { m.Spec.Suspend = ptr.To(true) })
				return x.AwaitMessage(m, "suspended", hasReason(v1alpha1.ReasonSuspended))
			},
			fix: func(x *tenant, m *v1alpha1.TeamTalkMessage) {
				x.AwaitMessage(m, "in revision 2", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.Revision() == 2 })
				x.Patch(m, `{"spec":{"suspend":false}}`)
			},
			want: map[string]int{"new": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			m := tc.declare(x)
			err := x.TryPatch(m, `{"spec":{"content":{"text":"not allowed"}}}`)
			if name != "failed" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "set onChange: Resend")) {
				t.Errorf("an edit without Resend: %v", err)
			}
			if name == "failed" {
				x.AwaitMessage(m, "delivered as edited", readyFor("True", v1alpha1.ReasonDelivered))
				tc.want["not allowed"] = 1
			}
			x.Patch(m, edit)
			if tc.fix != nil {
				tc.fix(x, m)
			}
			x.inRevision(m, 2)
			x.checkRowTexts(tc.want)
		})
	}
}

// TestEditInFlight edits a message whose first recipient was sent to and has not been answered. Its row is found by the
// token of the first revision. The second recipient, behind it, has not been sent to, unless the edit takes longer than
// the operator waits for the answer: then another message is edited.
func TestEditInFlight(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t, func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.MaxInFlight = 1 })
	for want := (map[string]int{}); len(want) < 10; {
		name := fmt.Sprint("m-", len(want))
		x.AddFault(devserver.Fault{Kind: devserver.Late, Command: wire.CommandMsgData, Delay: 5 * time.Minute, Count: 1})
		m := x.Declare(name, name+" old", resend, toUsers(x.Alice, x.Bob))
		x.Eventually("it is not stored", func() bool { return x.rowTexts()[name+" old"] > 0 })
		x.Patch(m, fmt.Sprintf(`{"spec":{"content":{"text":"%s new"}}}`, name))
		m = x.inRevision(m, 2)
		stored := m.Status.Revisions[0].Counts.Stored
		x.checkRevision(m, 0, 2, stored, 2-stored)
		want[name+" old"], want[name+" new"] = int(stored), 2
		x.checkRowTexts(want)
		if stored == 1 {
			return
		}
	}
	t.Error("no message was edited in flight")
}

// TestEditTakenBack edits a message in flight, and takes the edit back before its first revision has ended: with the
// earlier text again, the second recipient gets it.
func TestEditTakenBack(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t, func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.MaxInFlight = 1 })
	x.AddFault(devserver.Fault{Kind: devserver.Late, Command: wire.CommandMsgData, Delay: 5 * time.Minute, Count: 1})
	m := x.Declare("m", "old", resend, toUsers(x.Alice, x.Bob))
	x.AwaitRows(1)
	x.Patch(m, `{"spec":{"content":{"text":"new"}}}`)
	m = x.AwaitMessage(m, "being ended", func(m *v1alpha1.TeamTalkMessage) bool {
		return slices.ContainsFunc(m.Status.Recipients, func(r v1alpha1.RecipientStatus) bool { return r.Reason == v1alpha1.ReasonSuperseded }) ||
			m.Status.Revision() > 1
	})
	x.Patch(m, `{"spec":{"content":{"text":"old"}}}`)
	m = x.AwaitMessage(m, "delivered as edited last", func(now *v1alpha1.TeamTalkMessage) bool {
		return hasReason(v1alpha1.ReasonDelivered)(now) && now.Finished() && now.Status.ObservedGeneration > m.Generation
	})
	want := map[string]int{"old": 2}
	if m.Status.Revision() == 3 { // the second one had begun
		want["old"] += int(m.Status.Revisions[0].Counts.Stored)
		if n := m.Status.Revisions[1].Counts.Stored; n > 0 {
			want["new"] = int(n)
		}
	}
	x.checkRowTexts(want)
}

// TestResendIsSetBack: an edit is sent, though Reject is set again before an operator sees it.
func TestResendIsSetBack(t *testing.T) {
	x := newTenantWithServer(t)
	m := x.Deliver("m", "old", resend)
	x.StopLeader()
	x.Patch(m, `{"spec":{"content":{"text":"newer"}}}`)
	x.Patch(m, `{"spec":{"onChange":"Reject"}}`)
	x.StartLeader()
	x.inRevision(m, 2)
	x.checkRowTexts(map[string]int{"old": 1, "newer": 1})
}

// TestResendOfUnchanged edits the recipients of a message that is suspended, and of one that has failed for some: with
// an unchanged text, those that have it do not get it again, and those that have not got it yet do.
func TestResendOfUnchanged(t *testing.T) {
	t.Parallel()
	const absent = 500_002
	x := newTenantWithTeamTalk(t)
	m := x.Declare("m", "text", resend, toUsers(x.Alice, absent))
	m = x.AwaitMessage(m, "partially delivered", finishedFor(v1alpha1.ReasonPartiallyDelivered))
	x.Patch(m, fmt.Sprintf(`{"spec":{"to":{"users":[%d,%d,%d]}}}`, x.Alice, absent, x.Bob))
	m = x.AwaitMessage(m, "partially delivered again", func(m *v1alpha1.TeamTalkMessage) bool {
		return finishedFor(v1alpha1.ReasonPartiallyDelivered)(m) && m.Status.Revision() == 2
	})
	x.Must(x.TeamTalk.AddUser(framework.User(absent)))
	x.Patch(m, retryPatch)
	x.AwaitMessage(m, "delivered to all", readyFor("True", v1alpha1.ReasonDelivered))
	x.checkRowTexts(map[string]int{"text": 3})

	waits := x.Declare("waits", "waiting", resend, toUsers(x.Alice), func(m *v1alpha1.TeamTalkMessage) { m.Spec.Suspend = ptr.To(true) })
	waits = x.AwaitMessage(waits, "suspended", hasReason(v1alpha1.ReasonSuspended))
	x.Patch(waits, fmt.Sprintf(`{"spec":{"suspend":false,"to":{"users":[%d,%d]}}}`, x.Alice, x.Bob))
	x.inRevision(waits, 2)
	x.checkRowTexts(map[string]int{"text": 3, "waiting": 2})
}

// revised: a message is stored, its operator is lost before it records that, and the text is edited meanwhile. The sent
// message is found by the token of the first revision, and the second one is sent once.
func revised(t *testing.T, c *framework.Cluster) (whileDown, check func()) {
	x := newTenantOf(t, c)
	x.Timeout = 2 * framework.Timeout
	x.Deliver("warm", "up")
	x.AddFault(devserver.Fault{Kind: devserver.Late, Command: wire.CommandMsgData, Delay: 5 * time.Minute, Count: 2})
	m := x.Declare("m", "old", resend, toUsers(x.Alice))
	same := x.Declare("same", "same", resend, toUsers(x.Bob))
	x.AwaitRows(3)
	return func() {
			x.Patch(m, `{"spec":{"content":{"text":"new"}}}`)
			x.Patch(same, fmt.Sprintf(`{"spec":{"to":{"users":[%d,%d]}}}`, x.Bob, x.Alice))
		}, func() {
			m, same = x.inRevision(m, 2), x.inRevision(same, 2)
			x.checkRowTexts(map[string]int{"up": 1, "old": 1, "new": 1, "same": 2})
			x.checkRevision(m, 0, 1, 1, 0)
			x.checkRevision(same, 0, 1, 1, 0)
		}
}
