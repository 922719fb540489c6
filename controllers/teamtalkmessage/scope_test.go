// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"strings"
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

// TestEarlierDoubtsOfTokenless: a server that has never had tokens proves that what was not staged was not sent.
func TestEarlierDoubtsOfTokenless(t *testing.T) {
	created := metav1.NewTime(noon.Add(-time.Hour))
	tests := map[string]struct {
		edit       func(*v1alpha1.TeamTalkServer)
		recipients []v1alpha1.RecipientStatus
		want       v1alpha1.RecipientState
	}{
		"never had tokens": {want: v1alpha1.StatePending},
		"has tokens":       {edit: func(s *v1alpha1.TeamTalkServer) { s.Spec.DeliveryToken = "" }, want: v1alpha1.StateInDoubt},
		"was edited":       {edit: func(s *v1alpha1.TeamTalkServer) { s.Generation = 2 }, want: v1alpha1.StateInDoubt},
		"is younger":       {edit: func(s *v1alpha1.TeamTalkServer) { s.CreationTimestamp = metav1.NewTime(noon) }, want: v1alpha1.StateInDoubt},
		"staged": {
			recipients: []v1alpha1.RecipientStatus{{Type: v1alpha1.RecipientUser, ID: 2, State: v1alpha1.StatePending, CreateTime: &created}},
			want:       v1alpha1.StateInDoubt,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Generation: 1, CreationTimestamp: created}}
			m.Spec.To.Users, m.Status.Recipients = []v1alpha1.UserID{2}, tc.recipients
			s := newScope(m, leadership.Term{Start: metav1.NewTime(noon), Local: noon}, noon)
			s.server = &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Generation: 1, CreationTimestamp: created}}
			s.server.Spec.DeliveryToken = v1alpha1.DeliveryTokenDisabled
			if tc.edit != nil {
				tc.edit(s.server)
			}
			checkEarlierDoubts(s)
			if got := s.recipients[0].State; got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
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
	m.Spec.To.Users, m.Spec.To.Groups = []v1alpha1.UserID{2, 3, 4, 5}, []v1alpha1.GroupID{6, 7}
	failed := func(id int64, reason string, ids ...int64) v1alpha1.RecipientStatus {
		return v1alpha1.RecipientStatus{Type: v1alpha1.RecipientUser, ID: id, State: v1alpha1.StateFailed, Reason: reason, Attempts: 2, MessageIDs: ids}
	}
	m.Status.Recipients = []v1alpha1.RecipientStatus{
		{Type: v1alpha1.RecipientUser, ID: 2, State: v1alpha1.StateRouted, MessageIDs: []int64{9}},
		failed(3, v1alpha1.ReasonRetriesExhausted), failed(4, v1alpha1.ReasonOutcomeUnknown), failed(5, v1alpha1.ReasonDeadlineExceeded, 7),
		{Type: v1alpha1.RecipientGroup, ID: 6, State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonGroupNotFound, Attempts: 2},
		// It may have been stored while the group existed.
		{Type: v1alpha1.RecipientGroup, ID: 7, State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonGroupNotFound, Attempts: 2, InDoubtSince: &metav1.Time{Time: noon}},
	}
	s := newScope(m, leadership.Term{Clean: true}, noon)
	s.retryFailed()
	want := map[uint32]v1alpha1.RecipientState{
		2: v1alpha1.StateRouted, 3: v1alpha1.StatePending, 4: v1alpha1.StateFailed, 5: v1alpha1.StatePending,
		6: v1alpha1.StatePending, 7: v1alpha1.StateInDoubt,
	}
	for _, p := range s.recipients {
		if p.State != want[p.ID] || p.State == v1alpha1.StatePending && (p.Reason != "" || p.Attempts != 2) {
			t.Errorf("%d: %s %s, %d attempts", p.ID, p.State, p.Reason, p.Attempts)
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
	const pending, doubt, failed = v1alpha1.StatePending, v1alpha1.StateInDoubt, v1alpha1.StateFailed
	wait := waitFor(v1alpha1.ReasonServerNotFound, "none")
	tests := map[string]struct {
		deadline    time.Duration
		outcome     outcome
		known       bool
		key         string
		state, want v1alpha1.RecipientState
	}{
		"nobody to ask":             {-time.Second, wait, false, "", doubt, failed},
		"before its deadline":       {time.Second, wait, false, "", doubt, doubt},
		"it is being asked":         {-time.Second, done, false, "", doubt, doubt},
		"the engine has it":         {-time.Second, wait, true, "", doubt, doubt},
		"nobody to ask for its key": {-time.Second, wait, false, "k", pending, failed},
		"its key, before":           {time.Second, wait, false, "k", pending, pending},
		"its key is asked for":      {-time.Second, done, false, "k", pending, pending},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{}
			m.Spec.Deadline, m.Spec.IdempotencyKey = &metav1.Time{Time: noon.Add(tc.deadline)}, tc.key
			s := &scope{message: m, now: noon, recipients: []delivery.Progress{{State: tc.state}}}
			if tc.known {
				s.snapshot = &delivery.Snapshot{}
			}
			s.abandonDoubts(tc.outcome)
			p := s.recipients[0]
			if p.State != tc.want || p.State == failed && p.Reason != v1alpha1.ReasonOutcomeUnknown {
				t.Errorf("%s %s, want %s", p.State, p.Reason, tc.want)
			}
		})
	}
}

// TestRetryFailedInDoubt: the time by which audio is found again outlasts a group that was gone for a while.
func TestRetryFailedInDoubt(t *testing.T) {
	at := metav1.NewTime(noon)
	m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at}}
	m.Spec.To.Groups, m.Spec.Content.Audio = []v1alpha1.GroupID{9}, &v1alpha1.AudioContent{}
	m.Status.Recipients = []v1alpha1.RecipientStatus{{
		Type: v1alpha1.RecipientGroup, ID: 9, State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonGroupNotFound,
		Attempts: 1, CreateTime: &at, InDoubtSince: &at,
	}}
	s := newScope(m, leadership.Term{Clean: true}, noon)
	s.retryFailed()
	setStatus(s, nil, noon)
	r := m.Status.Recipients[0]
	if r.State != v1alpha1.StateInDoubt || r.CreateTime == nil || !r.CreateTime.Equal(&at) || nothingSent(m) {
		t.Errorf("%+v", r)
	}
}

// TestDeadlineOfSegments: where segments are stored, nothing else is said.
func TestDeadlineOfSegments(t *testing.T) {
	for name, tc := range map[string]struct {
		earlier []uint32
		want    string
	}{"none stored": {nil, delivery.MsgDeadline}, "one stored": {[]uint32{7}, delivery.MsgDeadlineSegment}} {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{}
			m.Spec.Deadline = &metav1.Time{Time: noon.Add(-time.Hour)}
			s := &scope{message: m, now: noon, recipients: []delivery.Progress{
				{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 2}, State: v1alpha1.StatePending, Earlier: tc.earlier},
			}}
			checkDeadline(s)
			if p := s.recipients[0]; p.Reason != v1alpha1.ReasonDeadlineExceeded || p.Message != tc.want {
				t.Errorf("%s: %s", p.Reason, p.Message)
			}
		})
	}
}

// TestRefuse: what another resource may have sent does not fail before the store was asked.
func TestRefuse(t *testing.T) {
	const pending, doubt, failed = v1alpha1.StatePending, v1alpha1.StateInDoubt, v1alpha1.StateFailed
	key := func(m *v1alpha1.TeamTalkMessage) { m.Spec.IdempotencyKey = "k" }
	ttl := func(m *v1alpha1.TeamTalkMessage) { m.Spec.TTLSecondsAfterFinished = new(int32) }
	past := func(m *v1alpha1.TeamTalkMessage) { m.Spec.Deadline = &metav1.Time{Time: noon.Add(-time.Hour)} }
	both := func(a, b func(*v1alpha1.TeamTalkMessage)) func(*v1alpha1.TeamTalkMessage) {
		return func(m *v1alpha1.TeamTalkMessage) {
			a(m)
			b(m)
		}
	}
	deny := func(s *v1alpha1.TeamTalkServer) { s.Spec.Senders.Default = 9 }
	denyWithoutToken := func(s *v1alpha1.TeamTalkServer) {
		s.Spec.Senders.Default, s.Spec.DeliveryToken = 9, v1alpha1.DeliveryTokenDisabled
	}
	tests := map[string]struct {
		edit   func(*v1alpha1.TeamTalkMessage)
		server func(*v1alpha1.TeamTalkServer)
		check  func(*scope) outcome
		state  v1alpha1.RecipientState
		want   v1alpha1.RecipientState
		// wantRefused: the engine refuses it when the store was asked.
		wantRefused bool
	}{
		"sender":                {server: deny, check: checkSender, state: pending, want: failed},
		"sender, in doubt":      {server: deny, check: checkSender, state: doubt, want: doubt, wantRefused: true},
		"sender, with a key":    {edit: key, server: deny, check: checkSender, state: pending, want: pending, wantRefused: true},
		"sender, by name":       {edit: ttl, server: deny, check: checkSender, state: pending, want: pending, wantRefused: true},
		"sender, key, no token": {edit: key, server: denyWithoutToken, check: checkSender, state: pending, want: failed},
		"recipient, with a key": {edit: key, server: denyUsers, check: checkRecipients, state: pending, want: pending, wantRefused: true},
		"itself, with a key":    {edit: key, check: checkRecipients, state: pending, want: failed},
		"deadline":              {edit: past, check: checkDeadline, state: pending, want: failed},
		"deadline, with a key":  {edit: both(key, past), check: checkDeadline, state: pending, want: pending},
		"deadline, in doubt":    {edit: past, check: checkDeadline, state: doubt, want: doubt, wantRefused: true},
		"empty":                 {edit: empty, check: makePayload, state: pending, want: failed},
		"empty, with a key":     {edit: both(key, empty), check: makePayload, state: pending, want: pending, wantRefused: true},
		"too long, by name":     {edit: both(ttl, tooLong), check: makePayload, state: pending, want: pending, wantRefused: true},
		"empty, with a key, in doubt": {
			edit: both(key, empty), check: makePayload, state: doubt, want: doubt, wantRefused: true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{}
			m.Spec.To.Users, m.Spec.Content.Text, m.Spec.SenderID = []v1alpha1.UserID{3}, new("hello"), new(v1alpha1.UserID(1))
			if tc.edit != nil {
				tc.edit(m)
			}
			server := &v1alpha1.TeamTalkServer{}
			server.Spec.Senders.Default, server.Spec.DeliveryToken = 1, v1alpha1.DeliveryTokenEnabled
			if tc.server != nil {
				tc.server(server)
			}
			s := newScope(m, leadership.Term{Clean: true}, noon)
			s.server, s.sender = server, 1
			if name == "itself, with a key" {
				s.sender = 3
			}
			s.recipients[0].State = tc.state
			tc.check(s)
			if _, refused := s.refusals[s.recipients[0].Recipient]; s.recipients[0].State != tc.want || refused != tc.wantRefused {
				t.Errorf("%+v, refused %v", s.recipients[0], refused)
			}
		})
	}
}

func empty(m *v1alpha1.TeamTalkMessage)   { m.Spec.Content.Text = new("") }
func tooLong(m *v1alpha1.TeamTalkMessage) { m.Spec.Content.Text = new(strings.Repeat("x", 3052)) }
func denyUsers(s *v1alpha1.TeamTalkServer) {
	s.Spec.Recipients = &v1alpha1.RecipientRules{Deny: v1alpha1.RecipientIDs{Users: []v1alpha1.UserID{3}}}
}

// TestSuspendedAtDeadline: nothing more is sent then, and the store is searched for earlier sends.
func TestSuspendedAtDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		deadline time.Duration
		want     bool
	}{"before": {time.Hour, true}, "after": {-time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{}
			m.Spec.Suspend, m.Spec.Deadline = new(true), &metav1.Time{Time: noon.Add(tc.deadline)}
			if out := checkSuspended(&scope{message: m, now: noon}); (out.cause != nil) != tc.want {
				t.Errorf("%+v", out)
			}
		})
	}
}
