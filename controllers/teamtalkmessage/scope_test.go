// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

var noon = time.Unix(1_700_000_000, 0)

// TestNewScope takes messages up as their status left them.
func TestNewScope(t *testing.T) {
	failed := v1alpha1.RecipientStatus{Type: v1alpha1.RecipientUser, ID: 2, State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonRecipientNotFound}
	unknown := failed
	unknown.Reason = v1alpha1.ReasonOutcomeUnknown
	same := specDigest(&v1alpha1.TeamTalkMessage{Spec: v1alpha1.TeamTalkMessageSpec{To: v1alpha1.Recipients{Users: []v1alpha1.UserID{2}}}})
	ended := &metav1.Time{Time: time.Unix(1_700_000_000, 0)}
	tests := map[string]struct {
		status     v1alpha1.TeamTalkMessageStatus
		wantState  v1alpha1.RecipientState
		wantEdited bool
		generation int64
	}{
		"new":                            {v1alpha1.TeamTalkMessageStatus{ObservedGeneration: -1}, v1alpha1.StatePending, false, 1},
		"failed":                         {v1alpha1.TeamTalkMessageStatus{ObservedGeneration: 1, CompletionTime: ended, Recipients: []v1alpha1.RecipientStatus{failed}}, v1alpha1.StateFailed, false, 1},
		"failed, then edited":            {v1alpha1.TeamTalkMessageStatus{ObservedGeneration: 1, CompletionTime: ended, Recipients: []v1alpha1.RecipientStatus{failed}}, v1alpha1.StatePending, true, 2},
		"failed, another field edited":   {v1alpha1.TeamTalkMessageStatus{ObservedGeneration: 1, CompletionTime: ended, Recipients: []v1alpha1.RecipientStatus{failed}, SpecDigest: same}, v1alpha1.StateFailed, false, 2},
		"unknown outcome, then edited":   {v1alpha1.TeamTalkMessageStatus{ObservedGeneration: 1, CompletionTime: ended, Recipients: []v1alpha1.RecipientStatus{unknown}}, v1alpha1.StateFailed, false, 2},
		"under way, then retryLimit set": {v1alpha1.TeamTalkMessageStatus{ObservedGeneration: 1, Recipients: []v1alpha1.RecipientStatus{failed}}, v1alpha1.StateFailed, false, 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Generation: tc.generation}, Status: tc.status}
			m.Spec.To.Users = []v1alpha1.UserID{2}
			s := newScope(m, leadership.Term{Clean: true}, time.Now())
			if edited := s.origin == originEdit; s.recipients[0].State != tc.wantState || edited != tc.wantEdited {
				t.Errorf("%+v, origin %v", s.recipients[0], s.origin)
			}
		})
	}
}

// TestEarlierUntil tells messages that another operator may have sent.
func TestEarlierUntil(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	local := start.Add(time.Hour) // another clock
	proof := local.Add(delivery.PeerPatience)
	tests := map[string]struct {
		clean   bool
		created time.Time
		reason  string
		want    time.Time
	}{
		"clean":                       {true, start.Add(-time.Hour), "", time.Time{}},
		"from long before":            {false, start.Add(-time.Hour), "", proof},
		"from before, the older":      {false, start.Add(-10 * time.Second), "", proof.Add(500 * time.Millisecond)},
		"from the very same second":   {false, start, "", proof.Add(time.Second)},
		"from after":                  {false, start.Add(time.Second), "", time.Time{}},
		"from before, shown to wait":  {false, start.Add(-time.Hour), v1alpha1.ReasonScheduled, time.Time{}},
		"from before, and being sent": {false, start.Add(-time.Hour), v1alpha1.ReasonSending, proof},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Time{Time: tc.created}}}
			// An operator whose clock is ahead has sent it before that: only the status counts.
			m.Spec.SendAfter = &metav1.Time{Time: start.Add(time.Hour)}
			if tc.reason != "" {
				m.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: tc.reason}}
			}
			term := leadership.Term{Clean: tc.clean, Start: metav1.Time{Time: start}, Local: local}
			if got := earlierUntil(term, m); !got.Equal(tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestRecordedSegments reads how many segments of a text are done from the recorded ids.
func TestRecordedSegments(t *testing.T) {
	tests := map[string]struct {
		state       v1alpha1.RecipientState
		ids         []int64
		wantEarlier []uint32
		wantID      uint32
	}{
		"nothing":          {state: v1alpha1.StatePending},
		"the first stored": {state: v1alpha1.StateStored, ids: []int64{7}, wantID: 7},
		"between two":      {state: v1alpha1.StatePending, ids: []int64{7}, wantEarlier: []uint32{7}},
		"in doubt":         {state: v1alpha1.StateInDoubt, ids: []int64{7, 9}, wantEarlier: []uint32{7, 9}},
		"acknowledged":     {state: v1alpha1.StateAcknowledged, ids: []int64{7, 9}, wantEarlier: []uint32{7}, wantID: 9},
		"routed":           {state: v1alpha1.StateRouted, ids: []int64{7, 9, 11}, wantEarlier: []uint32{7, 9}, wantID: 11},
		"failed":           {state: v1alpha1.StateFailed, ids: []int64{7}, wantEarlier: []uint32{7}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := progressOf(v1alpha1.Recipient{}, v1alpha1.RecipientStatus{State: tc.state, MessageIDs: tc.ids})
			if diff := cmp.Diff(tc.wantEarlier, p.Earlier); diff != "" || p.MessageID != tc.wantID {
				t.Errorf("id %d, earlier %s", p.MessageID, diff)
			}
			if diff := cmp.Diff(tc.ids, recipientStatus(p, false).MessageIDs, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRetryFailed starts again with the recipients that failed, and only with them.
func TestRetryFailed(t *testing.T) {
	m := &v1alpha1.TeamTalkMessage{}
	m.Spec.To.Users = []v1alpha1.UserID{2, 3, 4, 5}
	failed := func(id int64, reason string, ids ...int64) v1alpha1.RecipientStatus {
		return v1alpha1.RecipientStatus{Type: v1alpha1.RecipientUser, ID: id, State: v1alpha1.StateFailed, Reason: reason, Attempts: 2, MessageIDs: ids}
	}
	m.Status.Recipients = []v1alpha1.RecipientStatus{
		{Type: v1alpha1.RecipientUser, ID: 2, State: v1alpha1.StateRouted, MessageIDs: []int64{9}},
		failed(3, v1alpha1.ReasonRetriesExhausted), failed(4, v1alpha1.ReasonOutcomeUnknown), failed(5, v1alpha1.ReasonDeadlineExceeded, 7),
	}
	s := newScope(m, leadership.Term{Clean: true}, noon)
	s.retryFailed()
	want := map[uint32]v1alpha1.RecipientState{
		2: v1alpha1.StateRouted, 3: v1alpha1.StatePending, 4: v1alpha1.StateFailed, 5: v1alpha1.StatePending,
	}
	for _, p := range s.recipients {
		if p.State != want[p.ID] || p.State == v1alpha1.StatePending && (p.Reason != "" || p.Attempts != 2) {
			t.Errorf("user %d: %s %s, %d attempts", p.ID, p.State, p.Reason, p.Attempts)
		}
	}
	if got := s.recipients[3].Earlier; len(got) != 1 || got[0] != 7 {
		t.Errorf("the segments that are there: %v", got)
	}
}

func TestUntilDue(t *testing.T) {
	in := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: noon.Add(d)} }
	tests := map[string]struct {
		spec v1alpha1.TeamTalkMessageSpec
		want time.Duration
	}{
		"never":             {v1alpha1.TeamTalkMessageSpec{}, 0},
		"to send it":        {v1alpha1.TeamTalkMessageSpec{SendAfter: in(time.Hour), Deadline: in(2 * time.Hour)}, time.Hour},
		"to end it":         {v1alpha1.TeamTalkMessageSpec{SendAfter: in(-time.Hour), Deadline: in(2 * time.Hour)}, 2 * time.Hour},
		"both are past":     {v1alpha1.TeamTalkMessageSpec{SendAfter: in(-time.Hour), Deadline: in(-time.Minute)}, 0},
		"from its creation": {v1alpha1.TeamTalkMessageSpec{ActiveDeadlineSeconds: ptr.To(int64(60))}, 65 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			// The API server's clock is ahead of ours.
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: *in(5 * time.Second)}, Spec: tc.spec}
			if got := newScope(m, leadership.Term{Clean: true}, noon).untilDue(); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestAbandonDoubts ends doubts at the deadline only where nobody can ask.
func TestAbandonDoubts(t *testing.T) {
	wait := waitFor(v1alpha1.ReasonServerNotFound, "none")
	tests := map[string]struct {
		deadline time.Duration
		outcome  outcome
		known    bool
		want     v1alpha1.RecipientState
	}{
		"nobody to ask":       {-time.Second, wait, false, v1alpha1.StateFailed},
		"before its deadline": {time.Second, wait, false, v1alpha1.StateInDoubt},
		"it is being asked":   {-time.Second, done, false, v1alpha1.StateInDoubt},
		"the engine has it":   {-time.Second, wait, true, v1alpha1.StateInDoubt},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{}
			m.Spec.Deadline = &metav1.Time{Time: noon.Add(tc.deadline)}
			s := &scope{message: m, now: noon, recipients: []delivery.Progress{{State: v1alpha1.StateInDoubt}}}
			if tc.known {
				s.snapshot = &delivery.Snapshot{}
			}
			s.abandonDoubts(tc.outcome)
			if got := s.recipients[0].State; got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
