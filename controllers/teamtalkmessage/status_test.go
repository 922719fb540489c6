// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

func user(id uint32, state v1alpha1.RecipientState, reason string) delivery.Progress {
	return delivery.Progress{
		Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: id}, State: state, Reason: reason, Message: "because",
	}
}

// TestSetStatus checks what the states of all recipients come to: the conditions
// as kstatus reads them, and the numbers.
func TestSetStatus(t *testing.T) {
	routed, pending := user(2, v1alpha1.StateRouted, ""), user(2, v1alpha1.StatePending, "")
	notFound := user(3, v1alpha1.StateFailed, v1alpha1.ReasonRecipientNotFound)
	of := func(p ...delivery.Progress) []delivery.Progress { return p }
	tests := map[string]struct {
		recipients []delivery.Progress
		wait       *v1alpha1.Cause
		// running: a request may be in flight.
		running bool
		// want is Ready/Reconciling/Stalled/Delivered/Finished: + True, - False, . absent.
		want, wantReason, wantDelivered, wantSummary string
		wantMessage                                  string
	}{
		"just submitted": {recipients: of(pending), want: "-+.--", wantReason: v1alpha1.ReasonSending, wantSummary: "0/1"},
		"delivered": {
			recipients: of(routed, routed), want: "+..++", wantReason: v1alpha1.ReasonDelivered, wantSummary: "2/2",
			wantMessage: "delivered to 2 recipients",
		},
		"scheduled": {
			recipients: of(pending), wait: &v1alpha1.Cause{Reason: v1alpha1.ReasonScheduled, Message: "later"},
			want: "+..--", wantReason: v1alpha1.ReasonScheduled, wantSummary: "0/1", wantMessage: "later",
		},
		"suspended, but done": {
			recipients: of(routed), wait: &v1alpha1.Cause{Reason: v1alpha1.ReasonSuspended, Message: "later"},
			want: "+..++", wantReason: v1alpha1.ReasonDelivered, wantSummary: "1/1",
		},
		"one is under way": {
			recipients: of(routed, user(3, v1alpha1.StateStored, "")),
			want:       "-+.--", wantReason: v1alpha1.ReasonSending, wantSummary: "1/2",
		},
		"one was found, and is not announced yet": {
			recipients: of(user(2, v1alpha1.StateStored, v1alpha1.ReasonAdopted), user(3, v1alpha1.StatePending, v1alpha1.ReasonServerNotReady)),
			want:       "-+.--", wantReason: v1alpha1.ReasonServerNotReady, wantSummary: "0/2", wantMessage: "because",
		},
		"all were found, and are not announced yet": {
			recipients: of(user(2, v1alpha1.StateStored, v1alpha1.ReasonAdopted)),
			want:       "-+.--", wantReason: v1alpha1.ReasonSending, wantSummary: "0/1",
		},
		"no router": {
			recipients: of(routed, user(3, v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted)),
			want:       "+..++", wantReason: v1alpha1.ReasonDelivered, wantDelivered: v1alpha1.ReasonStoredNotRouted, wantSummary: "2/2",
		},
		"failed": {
			recipients: of(notFound), want: "-.+-+", wantReason: v1alpha1.ReasonRecipientNotFound, wantSummary: "0/1", wantMessage: "because",
		},
		"failed for both": {
			recipients: of(user(2, v1alpha1.StateFailed, v1alpha1.ReasonSendToSelf), notFound), want: "-.+-+",
			wantReason: v1alpha1.ReasonSendToSelf, wantSummary: "0/2", wantMessage: "failed for all 2 recipients; first failure: because",
		},
		"failed for one": {
			recipients: of(routed, notFound), want: "-.+-+", wantReason: v1alpha1.ReasonPartiallyDelivered, wantSummary: "1/2",
			wantMessage: "delivered to 1 of 2 recipients; first failure: because",
		},
		"waits for a watch": {
			recipients: of(pending), wait: &v1alpha1.Cause{Reason: v1alpha1.ReasonKeyNotFound, Message: "no key"},
			want: "-+.--", wantReason: v1alpha1.ReasonKeyNotFound, wantSummary: "0/1", wantMessage: "no key",
		},
		"waits, with a request in flight": {
			recipients: of(pending), wait: &v1alpha1.Cause{Reason: v1alpha1.ReasonSuspended, Message: "later"}, running: true,
			want: "-+.--", wantReason: v1alpha1.ReasonSending, wantSummary: "0/1",
		},
		"backs off": {
			recipients: of(user(2, v1alpha1.StatePending, v1alpha1.ReasonStoreRejected)),
			want:       "-+.--", wantReason: v1alpha1.ReasonRetryScheduled, wantSummary: "0/1", wantMessage: "because",
		},
		"in doubt": {
			recipients: of(user(2, v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)),
			want:       "-+.--", wantReason: v1alpha1.ReasonNoAnswer, wantSummary: "0/1", wantMessage: "because",
		},
		"missing, and asked for again": {
			recipients: of(user(2, v1alpha1.StatePending, v1alpha1.ReasonRecipientNotFound)),
			want:       "-+.--", wantReason: v1alpha1.ReasonRecipientNotFound, wantSummary: "0/1", wantMessage: "because",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Generation: 4}}
			// What was there before goes where it no longer holds.
			for _, c := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
				meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{Type: c, Status: "True", Reason: "Before"})
			}
			snapshot := &delivery.Snapshot{Running: tc.running}
			setStatus(&scope{message: m, recipients: tc.recipients, sender: 1, snapshot: snapshot}, tc.wait, time.Unix(1_700_000_000, 5))
			if got := signs(m); got != tc.want {
				t.Errorf("conditions %s, want %s: %+v", got, tc.want, m.Status.Conditions)
			}
			wantDelivered := tc.wantReason
			if tc.wantDelivered != "" {
				wantDelivered = tc.wantDelivered
			}
			for condition, want := range map[string]string{
				v1alpha1.ConditionReady: tc.wantReason, v1alpha1.ConditionFinished: tc.wantReason, v1alpha1.ConditionDelivered: wantDelivered,
			} {
				c := meta.FindStatusCondition(m.Status.Conditions, condition)
				if c.Reason != want || c.ObservedGeneration != 4 || tc.wantMessage != "" && c.Message != tc.wantMessage {
					t.Errorf("%s: %+v, want reason %s and message %q", condition, c, want, tc.wantMessage)
				}
			}
			if m.Status.RecipientsSummary != tc.wantSummary || m.Status.ObservedGeneration != 4 || *m.Status.SenderID != 1 {
				t.Errorf("status %+v", m.Status)
			}
			if finished := tc.want[4] == '+'; finished != (m.Status.CompletionTime != nil) {
				t.Errorf("completionTime %v", m.Status.CompletionTime)
			}
		})
	}
}

// TestStartTime: a message begins when the engine accepts it, and so before anything of it is stored.
func TestStartTime(t *testing.T) {
	tests := map[string]struct {
		snapshot *delivery.Snapshot
		edited   bool
		before   time.Time
		want     time.Time
	}{
		"not accepted":          {want: noon},
		"accepted before":       {snapshot: &delivery.Snapshot{Accepted: noon.Add(-5 * time.Second)}, want: noon.Add(-5 * time.Second)},
		"accepted right now":    {snapshot: &delivery.Snapshot{Accepted: noon.Add(time.Second)}, want: noon},
		"recorded":              {snapshot: &delivery.Snapshot{Accepted: noon}, before: noon.Add(-time.Minute), want: noon.Add(-time.Minute)},
		"recorded, then edited": {edited: true, before: noon.Add(-time.Minute), want: noon},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{}
			if !tc.before.IsZero() {
				m.Status.StartTime = &metav1.Time{Time: tc.before}
			}
			s := &scope{message: m, now: noon, snapshot: tc.snapshot}
			if tc.edited {
				s.origin = originEdit
			}
			setStatus(s, nil, noon.Add(10*time.Second))
			if got := m.Status.StartTime.Time; !got.Equal(tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestSpecDigest: what decides a message changes its digest, and nothing else does.
func TestSpecDigest(t *testing.T) {
	base := func() *v1alpha1.TeamTalkMessage {
		m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Namespace: "chat"}}
		m.Spec.To = v1alpha1.Recipients{Users: []v1alpha1.UserID{2, 3}, Groups: []v1alpha1.GroupID{7}}
		m.Spec.Content.Text = new("hello")
		return m
	}
	for name, tc := range map[string]struct {
		edit        func(*v1alpha1.TeamTalkMessageSpec)
		wantChanged bool
	}{
		"to":             {func(s *v1alpha1.TeamTalkMessageSpec) { s.To.Users[0] = 4 }, true},
		"order of to":    {func(s *v1alpha1.TeamTalkMessageSpec) { s.To.Users = []v1alpha1.UserID{3, 2} }, false},
		"content":        {func(s *v1alpha1.TeamTalkMessageSpec) { s.Content.Text = new("hallo") }, true},
		"longText":       {func(s *v1alpha1.TeamTalkMessageSpec) { s.LongText = v1alpha1.LongTextSplit }, true},
		"senderID":       {func(s *v1alpha1.TeamTalkMessageSpec) { s.SenderID = new(v1alpha1.UserID(9)) }, true},
		"serverRef":      {func(s *v1alpha1.TeamTalkMessageSpec) { s.ServerRef = &v1alpha1.ServerReference{Name: "b"} }, true},
		"its default":    {func(s *v1alpha1.TeamTalkMessageSpec) { s.ServerRef = &v1alpha1.ServerReference{Name: "default"} }, false},
		"idempotencyKey": {func(s *v1alpha1.TeamTalkMessageSpec) { s.IdempotencyKey = "k" }, true},
		"policy": {func(s *v1alpha1.TeamTalkMessageSpec) {
			s.RetryLimit, s.Suspend, s.TTLSecondsAfterFinished = new(int32), new(true), new(int32)
			s.Deadline, s.SendAfter, s.ActiveDeadlineSeconds = &metav1.Time{Time: noon}, &metav1.Time{Time: noon}, new(int64)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := base()
			tc.edit(&m.Spec)
			if changed := specDigest(m) != specDigest(base()); changed != tc.wantChanged {
				t.Errorf("changed: %v", changed)
			}
		})
	}
}

func signs(m *v1alpha1.TeamTalkMessage) string {
	var b strings.Builder
	for _, name := range []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionDelivered, v1alpha1.ConditionFinished,
	} {
		switch c := meta.FindStatusCondition(m.Status.Conditions, name); {
		case c == nil:
			b.WriteByte('.')
		case c.Status == metav1.ConditionTrue:
			b.WriteByte('+')
		default:
			b.WriteByte('-')
		}
	}
	return b.String()
}

// TestStatusRoundTrip reads back a written status: it is all that the next operator knows.
func TestStatusRoundTrip(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	tests := map[string]delivery.Progress{
		"nothing":   {State: v1alpha1.StatePending},
		"staged":    {State: v1alpha1.StatePending, CreateTime: 1_700_000_000},
		"in doubt":  {State: v1alpha1.StateInDoubt, Reason: v1alpha1.ReasonNoAnswer, Message: "why", Attempts: 2, DoubtSince: at},
		"delivered": {State: v1alpha1.StateRouted, MessageID: 18, Attempts: 1, StoredAt: at, RoutedAt: at},
		"in its second segment": {
			State: v1alpha1.StatePending, Earlier: []uint32{18}, EarlierReason: v1alpha1.ReasonStoredNotRouted, EarlierMessage: "why", Attempts: 1, StoredAt: at,
		},
		"failed in its second segment": {
			State: v1alpha1.StateFailed, Earlier: []uint32{18}, EarlierReason: v1alpha1.ReasonAdopted, EarlierMessage: "why", Attempts: 1, StoredAt: at,
		},
	}
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			p.Recipient = v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: 7}
			got := progressOf(p.Recipient, recipientStatus(p, true))
			if diff := cmp.Diff(p, got, cmp.FilterPath(func(p cmp.Path) bool {
				f, ok := p.Last().(cmp.StructField)
				return ok && f.Name()[0] >= 'a'
			}, cmp.Ignore())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestShorten(t *testing.T) {
	long := strings.Repeat("界", 200)
	if got := []rune(shorten(long)); len(got) != v1alpha1.MaxRecipientMessage || got[127] != '…' {
		t.Errorf("%d characters: %s", len(got), string(got))
	}
	if got := shorten("short"); got != "short" {
		t.Error(got)
	}
}

func TestSummarizeRecipients(t *testing.T) {
	tests := map[string]struct {
		to   v1alpha1.Recipients
		want string
	}{
		"a user":          {v1alpha1.Recipients{Users: []v1alpha1.UserID{2}}, "user 2"},
		"users and group": {v1alpha1.Recipients{Users: []v1alpha1.UserID{2, 3}, Groups: []v1alpha1.GroupID{7}}, "users 2,3; group 7"},
		"long ids":        {v1alpha1.Recipients{Users: []v1alpha1.UserID{100001, 100002}, Groups: []v1alpha1.GroupID{7}}, "2 users; 1 group"},
		"long names":      {v1alpha1.Recipients{UserNames: []string{"zhang.san", "wang.xiaoming"}}, "2 users"},
		"one long name":   {v1alpha1.Recipients{GroupNames: []string{"operations and release"}}, "group operations and release"},
		"many":            {v1alpha1.Recipients{Groups: []v1alpha1.GroupID{1, 2, 3, 4}}, "4 groups"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := summarizeRecipients(tc.to); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// TestCreateTimeStays: the time by which a message without a token is found again
// stays in the status, whatever becomes of its server.
func TestCreateTimeStays(t *testing.T) {
	at := metav1.NewTime(time.Unix(1_700_000_000, 0))
	enabled := &v1alpha1.TeamTalkServer{Spec: v1alpha1.TeamTalkServerSpec{DeliveryToken: v1alpha1.DeliveryTokenEnabled}}
	for name, server := range map[string]*v1alpha1.TeamTalkServer{"gone": nil, "with tokens now": enabled} {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
			m.Spec.To.Users = []v1alpha1.UserID{2}
			m.Status.ObservedGeneration = 1
			m.Status.Recipients = []v1alpha1.RecipientStatus{{
				Type: v1alpha1.RecipientUser, ID: 2, State: v1alpha1.StateInDoubt, CreateTime: &at,
			}}
			for range 2 {
				s := newScope(m, leadership.Term{Clean: true}, at.Time)
				s.server = server
				setStatus(s, nil, at.Time)
			}
			if got := m.Status.Recipients[0].CreateTime; got == nil || !got.Equal(&at) {
				t.Errorf("createTime %v, want %v", got, at)
			}
		})
	}
}
