// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// readyFor reports whether the Ready condition has the status and the reason.
func readyFor(status metav1.ConditionStatus, reason string) func(*v1alpha1.TeamTalkMessage) bool {
	return func(m *v1alpha1.TeamTalkMessage) bool {
		c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Status == status && c.Reason == reason
	}
}

func finishedFor(reason string) func(*v1alpha1.TeamTalkMessage) bool {
	return func(m *v1alpha1.TeamTalkMessage) bool {
		return m.Finished() && readyFor(metav1.ConditionFalse, reason)(m)
	}
}

// checkOnPurpose checks that a message which waits as declared looks done to kstatus, and is not.
func (x *tenant) checkOnPurpose(m *v1alpha1.TeamTalkMessage) {
	x.Helper()
	for _, c := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if meta.FindStatusCondition(m.Status.Conditions, c) != nil {
			x.Errorf("%s is present", c)
		}
	}
	if m.Finished() || len(x.Rows()) != 0 {
		x.Errorf("finished %v, the store holds %+v", m.Finished(), x.Rows())
	}
}

func TestScheduled(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	m := x.Declare("m", "later", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.SendAfter = ptr.To(metav1.NewTime(time.Now().Add(time.Hour)))
	})
	x.checkOnPurpose(x.AwaitMessage(m, "scheduled", readyFor(metav1.ConditionTrue, v1alpha1.ReasonScheduled)))
	after := metav1.NewTime(time.Now().Add(4 * time.Second).Truncate(time.Second))
	x.Patch(m, fmt.Sprintf(`{"spec":{"sendAfter":%q}}`, after.UTC().Format(time.RFC3339)))
	x.checkDelivered(x.AwaitDelivered(m))
	if rows := x.Rows(); len(rows) != 1 || int64(rows[0].CreateTime) < after.Unix() || rows[0].StoredAt.Before(after.Time) {
		t.Errorf("the store holds %+v, want one not before %v", rows, after)
	}
}

func TestRescheduled(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	m := x.Declare("m", "later", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.SendAfter = ptr.To(metav1.NewTime(time.Now().Add(time.Hour)))
	})
	x.AwaitMessage(m, "scheduled", readyFor(metav1.ConditionTrue, v1alpha1.ReasonScheduled))
	x.Patch(m, `{"spec":{"sendAfter":null}}`)
	x.checkDelivered(x.AwaitDelivered(m))
}

// TestDeadlines: what is not sent by its deadline, whatever it waits for, ends then. The deadline is brought forward
// once the message waits: a busy operator may see a new one late.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	later := func(m *v1alpha1.TeamTalkMessage) { m.Spec.ActiveDeadlineSeconds = ptr.To(int64(3600)) }
	activeFor := func(m *v1alpha1.TeamTalkMessage, until time.Time) string {
		return fmt.Sprintf(`{"spec":{"activeDeadlineSeconds":%d}}`, until.Unix()-m.CreationTimestamp.Unix())
	}
	at := func(_ *v1alpha1.TeamTalkMessage, until time.Time) string {
		return fmt.Sprintf(`{"spec":{"deadline":%q}}`, until.UTC().Format(time.RFC3339))
	}
	tests := map[string]struct {
		declare   func(*tenant)
		edit      messageEdit
		meanwhile string
		deadline  func(m *v1alpha1.TeamTalkMessage, until time.Time) (patch string)
	}{
		"no server": {func(*tenant) {}, later, v1alpha1.ReasonServerNotFound, activeFor},
		"db_proxy is away": {
			func(x *tenant) { x.CreateServer(framework.Unreachable) },
			func(*v1alpha1.TeamTalkMessage) {}, v1alpha1.ReasonServerNotReady, at,
		},
		"suspended": {func(x *tenant) { x.CreateServer() }, func(m *v1alpha1.TeamTalkMessage) {
			later(m)
			m.Spec.Suspend = ptr.To(true)
		}, v1alpha1.ReasonSuspended, activeFor},
	}
	const want = v1alpha1.ReasonDeadlineExceeded
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenant(t)
			tc.declare(x)
			m := x.Declare("m", "too late", tc.edit)
			x.AwaitMessage(m, tc.meanwhile, hasReason(tc.meanwhile))
			x.Patch(m, tc.deadline(m, time.Now().Add(5*time.Second)))
			got := x.AwaitMessage(m, "finished for "+want, finishedFor(want))
			if got.Status.CompletionTime.Time.Before(got.DeadlineTime().Truncate(time.Second)) {
				t.Errorf("ended at %v, before its deadline", got.Status.CompletionTime)
			}
			x.AwaitEvent("m", want)
			x.CheckRows(0)
		})
	}
}

// TestSuspended suspends messages before and while they are sent.
func TestSuspended(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	before := x.Declare("before", "suspended from the start", func(m *v1alpha1.TeamTalkMessage) { m.Spec.Suspend = ptr.To(true) })
	x.checkOnPurpose(x.AwaitMessage(before, "suspended", readyFor(metav1.ConditionTrue, v1alpha1.ReasonSuspended)))

	x.AddFault(devserver.Fault{Kind: devserver.Refuse, Server: devserver.InDBProxy})
	during := x.Declare("during", "suspended while it waits", toUsers(x.Bob))
	x.AwaitMessage(during, "waiting", readyFor(metav1.ConditionFalse, v1alpha1.ReasonServerNotReady))
	x.Patch(during, `{"spec":{"suspend":true}}`)
	x.AwaitMessage(during, "suspended", readyFor(metav1.ConditionTrue, v1alpha1.ReasonSuspended))
	x.TeamTalk.Faults().Clear()
	// The other one, which goes now, shows that db_proxy can be reached again.
	x.Patch(before, `{"spec":{"suspend":false}}`)
	x.checkDelivered(x.AwaitDelivered(before))
	x.CheckRows(1)
	x.Patch(during, `{"spec":{"suspend":null}}`)
	x.checkDelivered(x.AwaitDelivered(during))
}

// TestTTL deletes finished messages, and identifies them by their names when they are created again.
func TestTTL(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	keep := x.Declare("keep", "kept", toUsers(x.Bob))
	brief := func(m *v1alpha1.TeamTalkMessage) { m.Spec.TTLSecondsAfterFinished = ptr.To(int32(1)) }
	for range 2 {
		m := x.Declare("m", "announced once", brief)
		framework.AwaitVersion(x.Tenant, m, "delivered before it is deleted", func(m *v1alpha1.TeamTalkMessage) bool {
			return meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered)
		})
		x.awaitGone(m)
	}
	x.AwaitDelivered(keep)
	x.CheckRows(2)
	// With a time to live, name and text are what a message is known by.
	x.awaitGone(x.Declare("m", "another text", brief))
	x.CheckRows(3)
	x.awaitGone(x.Declare("m", "announced once", brief))
	x.CheckRows(3)
	// A generated name is another one each time.
	generated := func(m *v1alpha1.TeamTalkMessage) {
		brief(m)
		m.GenerateName = "m-"
	}
	x.awaitGone(x.Declare("m", "another text", generated))
	x.CheckRows(4)
}

// TestRateLimit: a server's bound on messages per second holds across messages.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, func(s *v1alpha1.TeamTalkServer) {
		s.Spec.RateLimit = v1alpha1.RateLimit{MessagesPerSecond: 5, Burst: 1}
	})
	var messages []*v1alpha1.TeamTalkMessage
	for n := range 6 {
		messages = append(messages, x.Declare(fmt.Sprintf("m-%d", n), "hello", toUsers(x.Alice, x.Bob)))
	}
	for _, m := range messages {
		x.checkDelivered(x.AwaitDelivered(m))
	}
	rows := x.Rows()
	if len(rows) != 12 {
		t.Fatalf("the store holds %d messages, want 12", len(rows))
	}
	// The first leaves at once, each further one a fifth of a second later.
	if took := rows[11].StoredAt.Sub(rows[0].StoredAt); took < 2*time.Second {
		t.Errorf("12 messages were stored within %v", took)
	}
}

// TestRetryAnnotation tries again what failed, once per value, and nothing else.
func TestRetryAnnotation(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	const newcomer = 1_900_000
	m := x.Declare("m", "hello", toUsers(x.Alice, newcomer), func(m *v1alpha1.TeamTalkMessage) {
		// A value that the message comes with asks for nothing.
		m.Annotations = map[string]string{v1alpha1.RetryAnnotation: "0"}
	})
	x.AwaitMessage(m, "partly delivered", finishedFor(v1alpha1.ReasonPartiallyDelivered))
	x.Patch(m, `{"metadata":{"annotations":{"teamtalk.io/retry":"1"}}}`)
	x.AwaitMessage(m, "failed again", func(m *v1alpha1.TeamTalkMessage) bool {
		return m.Status.LastHandledRetry == "1" && finishedFor(v1alpha1.ReasonPartiallyDelivered)(m)
	})
	x.Must(x.TeamTalk.AddUser(devserver.NewUser(newcomer, "newcomer", "newcomer")))
	x.Patch(m, `{"metadata":{"annotations":{"teamtalk.io/retry":"2"}}}`)
	x.checkDelivered(x.AwaitDelivered(m))
	x.Patch(m, `{"metadata":{"annotations":{"teamtalk.io/retry":"3"}}}`)
	got := x.AwaitMessage(m, "nothing left to retry", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.LastHandledRetry == "3" && m.Finished() })
	x.CheckRows(2)
	x.checkDelivered(got)
}

// TestSendersOfScheduled: a scheduled message needs a sender that the server allows when it is due.
func TestSendersOfScheduled(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	as := func(id uint32) messageEdit {
		return func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.SenderID = ptr.To(v1alpha1.UserID(id))
			m.Spec.SendAfter = ptr.To(metav1.NewTime(time.Now().Add(time.Hour)))
		}
	}
	withdrawn, never := x.Declare("withdrawn", "hi", as(x.Mate)), x.Declare("never", "hi", as(x.Bob))
	x.AwaitMessage(withdrawn, "scheduled", readyFor(metav1.ConditionTrue, v1alpha1.ReasonScheduled))
	x.editServer(func(s *v1alpha1.TeamTalkServer) { s.Spec.Senders.Allowed = nil })
	x.AwaitServer("looked at again", func(s *v1alpha1.TeamTalkServer) bool { return s.Generation == 2 && s.Status.ObservedGeneration == 2 })
	for _, m := range []*v1alpha1.TeamTalkMessage{withdrawn, never} {
		x.Patch(m, `{"spec":{"sendAfter":null}}`) // its time has come
		x.AwaitMessage(m, "finished", finishedFor(v1alpha1.ReasonSenderNotPermitted))
	}
	if rows := x.RowsFrom(x.Mate, x.Bob); len(rows) != 0 {
		t.Errorf("the store holds %+v", rows)
	}
}
