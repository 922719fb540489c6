package operator

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// patch applies a merge patch, as `kubectl patch --type=merge` does.
func (x *tenant) patch(m *v1alpha1.TeamTalkMessage, patch string) {
	x.t.Helper()
	x.must(world.Admin.Patch(x.t.Context(), m.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch))))
}

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

// checkOnPurpose checks that a message which waits as declared looks done to
// kstatus, and is not.
func (x *tenant) checkOnPurpose(m *v1alpha1.TeamTalkMessage) {
	x.t.Helper()
	for _, c := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if meta.FindStatusCondition(m.Status.Conditions, c) != nil {
			x.t.Errorf("%s is present", c)
		}
	}
	if m.Finished() || len(x.rows()) != 0 {
		x.t.Errorf("finished %v, the store holds %+v", m.Finished(), x.rows())
	}
}

func TestScheduled(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer()
	after := metav1.NewTime(time.Now().Add(3 * time.Second).Truncate(time.Second))
	m := x.message("m", "later", func(m *v1alpha1.TeamTalkMessage) { m.Spec.SendAfter = &after })
	x.create(m)
	x.checkOnPurpose(x.await(m, "scheduled", readyFor(metav1.ConditionTrue, v1alpha1.ReasonScheduled)))
	x.checkDelivered(x.awaitDelivered(m))
	if rows := x.rows(); len(rows) != 1 || int64(rows[0].CreateTime) < after.Unix() || rows[0].StoredAt.Before(after.Time) {
		t.Errorf("the store holds %+v, want one not before %v", rows, after)
	}
}

func TestRescheduled(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer()
	m := x.message("m", "later", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.SendAfter = ptr.To(metav1.NewTime(time.Now().Add(time.Hour)))
	})
	x.create(m)
	x.await(m, "scheduled", readyFor(metav1.ConditionTrue, v1alpha1.ReasonScheduled))
	x.patch(m, `{"spec":{"sendAfter":null}}`)
	x.checkDelivered(x.awaitDelivered(m))
}

// TestDeadlines: what is not sent by its deadline, whatever it waits for, ends then.
func TestDeadlines(t *testing.T) {
	tests := map[string]struct {
		server func(*tenant)
		edit   func(*v1alpha1.TeamTalkMessage)
		meanwhile,
		want string
	}{
		"no server": {
			server:    func(*tenant) {},
			edit:      func(m *v1alpha1.TeamTalkMessage) { m.Spec.ActiveDeadlineSeconds = ptr.To(int64(3)) },
			meanwhile: v1alpha1.ReasonServerNotFound, want: v1alpha1.ReasonDeadlineExceeded,
		},
		"db_proxy is away": {
			server: func(x *tenant) {
				x.withServer(func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{"127.0.0.1:1"} })
			},
			edit: func(m *v1alpha1.TeamTalkMessage) {
				m.Spec.Deadline = ptr.To(metav1.NewTime(time.Now().Add(4 * time.Second)))
			},
			meanwhile: v1alpha1.ReasonServerNotReady, want: v1alpha1.ReasonDeadlineExceeded,
		},
		"suspended": {
			server: func(x *tenant) { x.withServer() },
			edit: func(m *v1alpha1.TeamTalkMessage) {
				m.Spec.ActiveDeadlineSeconds, m.Spec.Suspend = ptr.To(int64(3)), ptr.To(true)
			},
			meanwhile: v1alpha1.ReasonSuspended, want: v1alpha1.ReasonDeadlineExceeded,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenant(t)
			tc.server(x)
			m := x.message("m", "too late", tc.edit)
			x.create(m)
			x.await(m, tc.meanwhile, func(m *v1alpha1.TeamTalkMessage) bool {
				c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
				return c != nil && c.Reason == tc.meanwhile
			})
			got := x.await(m, "finished for "+tc.want, finishedFor(tc.want))
			if got.Status.CompletionTime.Time.Before(got.DeadlineTime().Truncate(time.Second)) {
				t.Errorf("ended at %v, before its deadline", got.Status.CompletionTime)
			}
			x.awaitEvent("m", tc.want)
			if rows := x.rows(); len(rows) != 0 {
				t.Errorf("the store holds %+v", rows)
			}
		})
	}
}

// TestSuspended suspends messages before and while they are sent.
func TestSuspended(t *testing.T) {
	t.Parallel()
	teamtalk, err := framework.StartTeamTalk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	x := newTenantOf(t, teamtalk).withServer()
	before := x.message("before", "suspended from the start", func(m *v1alpha1.TeamTalkMessage) { m.Spec.Suspend = ptr.To(true) })
	x.create(before)
	x.checkOnPurpose(x.await(before, "suspended", readyFor(metav1.ConditionTrue, v1alpha1.ReasonSuspended)))

	_, err = teamtalk.Faults().Add(devserver.Fault{Kind: devserver.Refuse, Server: devserver.InDBProxy})
	x.must(err)
	during := x.message("during", "suspended while it waits", toUsers(x.bob))
	x.create(during)
	x.await(during, "waiting", readyFor(metav1.ConditionFalse, v1alpha1.ReasonServerNotReady))
	x.patch(during, `{"spec":{"suspend":true}}`)
	x.await(during, "suspended", readyFor(metav1.ConditionTrue, v1alpha1.ReasonSuspended))
	teamtalk.Faults().Clear()
	// The other one, which goes now, shows that db_proxy can be reached again.
	x.patch(before, `{"spec":{"suspend":false}}`)
	x.checkDelivered(x.awaitDelivered(before))
	if rows := x.rows(); len(rows) != 1 {
		t.Errorf("the store holds %+v", rows)
	}
	x.patch(during, `{"spec":{"suspend":null}}`)
	x.checkDelivered(x.awaitDelivered(during))
}

// TestTTL deletes what has finished, and knows it again by its name.
func TestTTL(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer()
	keep := x.message("keep", "kept", toUsers(x.bob))
	x.create(keep)
	message := func() *v1alpha1.TeamTalkMessage {
		return x.message("m", "announced once", func(m *v1alpha1.TeamTalkMessage) { m.Spec.TTLSecondsAfterFinished = ptr.To(int32(1)) })
	}
	for range 2 {
		m := message()
		x.create(m)
		seen := &v1alpha1.TeamTalkMessage{}
		x.eventually(patience, func() string { return fmt.Sprintf("not deleted: %+v", seen.Status) }, gone(m, seen))
		if !meta.IsStatusConditionTrue(seen.Status.Conditions, v1alpha1.ConditionDelivered) {
			t.Errorf("deleted before it was delivered: %+v", seen.Status)
		}
	}
	x.awaitDelivered(keep)
	if rows := x.rows(); len(rows) != 2 {
		t.Errorf("the store holds %+v", rows)
	}
	// With a time to live, a name is a key.
	other := message()
	text := "another text"
	other.Spec.Content.Text = &text
	x.create(other)
	x.await(other, "refused", func(m *v1alpha1.TeamTalkMessage) bool { return finishedFor(v1alpha1.ReasonKeyReused)(m) })
}

// TestRateLimit: a server's bound on messages per second holds across messages.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer(func(s *v1alpha1.TeamTalkServer) {
		s.Spec.RateLimit = v1alpha1.RateLimit{MessagesPerSecond: 5, Burst: 1}
	})
	var messages []*v1alpha1.TeamTalkMessage
	for n := range 6 {
		m := x.message(fmt.Sprintf("m-%d", n), "hello", toUsers(x.alice, x.bob))
		x.create(m)
		messages = append(messages, m)
	}
	for _, m := range messages {
		x.checkDelivered(x.awaitDelivered(m))
	}
	rows := x.rows()
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
	teamtalk, err := framework.StartTeamTalk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	x := newTenantOf(t, teamtalk).withServer()
	const newcomer = 1_900_000
	m := x.message("m", "hello", toUsers(x.alice, newcomer), func(m *v1alpha1.TeamTalkMessage) {
		// A value that the message comes with asks for nothing.
		m.Annotations = map[string]string{v1alpha1.RetryAnnotation: "0"}
	})
	x.create(m)
	x.await(m, "partly delivered", finishedFor(v1alpha1.ReasonPartiallyDelivered))
	x.patch(m, `{"metadata":{"annotations":{"teamtalk.io/retry":"1"}}}`)
	x.await(m, "failed again", func(m *v1alpha1.TeamTalkMessage) bool {
		return m.Status.LastHandledRetry == "1" && finishedFor(v1alpha1.ReasonPartiallyDelivered)(m)
	})
	x.must(teamtalk.AddUser(devserver.NewUser(newcomer, "newcomer", "newcomer")))
	x.patch(m, `{"metadata":{"annotations":{"teamtalk.io/retry":"2"}}}`)
	x.checkDelivered(x.awaitDelivered(m))
	x.patch(m, `{"metadata":{"annotations":{"teamtalk.io/retry":"3"}}}`)
	got := x.await(m, "nothing left to retry", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.LastHandledRetry == "3" && m.Finished() })
	if rows := x.rows(); len(rows) != 2 {
		t.Errorf("the store holds %+v", rows)
	}
	x.checkDelivered(got)
}

func isGone(err error) (bool, error) {
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, err
}
