// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// resent is a message to users 2 and 3 with a recorded first revision.
func resent(statuses ...v1alpha1.RecipientStatus) *v1alpha1.TeamTalkMessage {
	m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
		Namespace: "chat", Name: "m", UID: "u", Generation: 2, CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour)),
	}}
	m.Spec.To.Users, m.Spec.Content.Text, m.Spec.OnChange = []v1alpha1.UserID{2, 3}, new("old"), v1alpha1.OnChangeResend
	started := metav1.NewTime(noon.Add(-time.Hour))
	digest := contentDigest(m)
	m.Status = v1alpha1.TeamTalkMessageStatus{
		ObservedGeneration: 1, SpecDigest: specDigest(m), ContentDigest: digest, StartTime: &started, SenderID: new(v1alpha1.UserID(1)),
		Text: &v1alpha1.RecordedText{Digest: "d"}, Recipients: statuses, Counts: &v1alpha1.RecipientCounts{},
		Revisions: []v1alpha1.RevisionStatus{{Number: 1, Digest: digest, StartTime: started}},
	}
	return m
}

func ofUser(id int64, state v1alpha1.RecipientState, reason string) v1alpha1.RecipientStatus {
	return v1alpha1.RecipientStatus{Type: v1alpha1.RecipientUser, ID: id, State: state, Reason: reason}
}

// TestBeginRevision: what the former revision has come to decides whether the next one begins, and what it begins with.
func TestBeginRevision(t *testing.T) {
	text := func(m *v1alpha1.TeamTalkMessage) { m.Spec.Content.Text = new("new") }
	toFour := func(m *v1alpha1.TeamTalkMessage) { m.Spec.To.Users = []v1alpha1.UserID{2, 3, 4} }
	routed, failed := v1alpha1.StateRouted, v1alpha1.StateFailed
	pending, doubt := v1alpha1.StatePending, v1alpha1.StateInDoubt
	inDoubt := ofUser(3, failed, v1alpha1.ReasonGroupNotFound)
	inDoubt.InDoubtSince = &metav1.Time{Time: noon}
	tests := map[string]struct {
		second v1alpha1.RecipientStatus
		edit   func(*v1alpha1.TeamTalkMessage)
		// priorTerm: another operator may have sent it.
		priorTerm bool
		// snapshot is what the engine knows of user 3; "": nothing.
		snapshot   v1alpha1.RecipientState
		want       origin
		wantStates []v1alpha1.RecipientState
		wantReason string // of user 3
	}{
		"text, all done":                  {second: ofUser(3, routed, ""), edit: text, want: originRevision, wantStates: []v1alpha1.RecipientState{pending, pending}},
		"recipients, all done":            {second: ofUser(3, routed, ""), edit: toFour, want: originRevision, wantStates: []v1alpha1.RecipientState{routed, routed, pending}},
		"text, one pending":               {second: ofUser(3, pending, ""), edit: text, want: originRevision, wantStates: []v1alpha1.RecipientState{pending, pending}},
		"recipients, pending":             {second: ofUser(3, pending, ""), edit: toFour, want: originRevision, wantStates: []v1alpha1.RecipientState{routed, pending, pending}},
		"text, one in doubt":              {second: ofUser(3, doubt, v1alpha1.ReasonNoAnswer), edit: text, want: originSuperseded, wantStates: []v1alpha1.RecipientState{routed, doubt}, wantReason: v1alpha1.ReasonNoAnswer},
		"text, after a term":              {second: ofUser(3, pending, ""), edit: text, priorTerm: true, want: originSuperseded, wantStates: []v1alpha1.RecipientState{routed, doubt}, wantReason: v1alpha1.ReasonNoAnswer},
		"text, under way":                 {second: ofUser(3, pending, ""), edit: text, snapshot: pending, want: originSuperseded, wantStates: []v1alpha1.RecipientState{routed, pending}},
		"text, known to be done":          {second: ofUser(3, pending, ""), edit: toFour, snapshot: routed, want: originRevision, wantStates: []v1alpha1.RecipientState{routed, routed, pending}},
		"recipients, one failed":          {second: ofUser(3, failed, v1alpha1.ReasonRecipientNotFound), edit: toFour, want: originRevision, wantStates: []v1alpha1.RecipientState{routed, failed, pending}, wantReason: v1alpha1.ReasonRecipientNotFound},
		"recipients, one failed in doubt": {second: inDoubt, edit: toFour, want: originRevision, wantStates: []v1alpha1.RecipientState{routed, failed, pending}, wantReason: v1alpha1.ReasonOutcomeUnknown},
		"another field":                   {second: ofUser(3, pending, ""), edit: func(m *v1alpha1.TeamTalkMessage) { m.Spec.RetryLimit = new(int32) }, want: originStatus, wantStates: []v1alpha1.RecipientState{routed, pending}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := resent(ofUser(2, routed, ""), tc.second)
			tc.edit(m)
			term := leadership.Term{Clean: !tc.priorTerm, Start: metav1.NewTime(noon), Local: noon}
			s := newScope(m, term, noon)
			if tc.snapshot != "" {
				recipients := []delivery.Progress{user(2, routed, ""), user(3, tc.snapshot, "")}
				s.adopt(delivery.Snapshot{Running: tc.snapshot == pending, Recipients: recipients, Sender: 1})
			}
			s.beginRevision()
			var states []v1alpha1.RecipientState
			for _, p := range s.recipients {
				states = append(states, p.State)
			}
			wantRevision := int32(1)
			if tc.want == originRevision {
				wantRevision = 2
			}
			if s.origin != tc.want || s.revision != wantRevision || !slices.Equal(states, tc.wantStates) || s.recipients[1].Reason != tc.wantReason {
				t.Errorf("origin %d, revision %d, %v, reason %q; want %d, %v, %q", s.origin, s.revision, states, s.recipients[1].Reason, tc.want, tc.wantStates, tc.wantReason)
			}
		})
	}
}

// TestNamesOfRevision: a name keeps its id in later revisions, and a recipient that several entries name is there once.
func TestNamesOfRevision(t *testing.T) {
	resolved := ofUser(4, v1alpha1.StateRouted, "")
	resolved.Name = "li.si"
	unknown := v1alpha1.RecipientStatus{Type: v1alpha1.RecipientUser, Name: "nobody", State: v1alpha1.StatePending}
	for name, tc := range map[string]struct {
		text string
		want []delivery.Progress
	}{
		"another text": {"new", []delivery.Progress{
			{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 4}, State: v1alpha1.StatePending},
			{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, Name: "nobody"}, State: v1alpha1.StatePending},
		}},
		"the same text": {"old", []delivery.Progress{
			{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 4}, State: v1alpha1.StateRouted},
			{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, Name: "nobody"}, State: v1alpha1.StatePending},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := resent(resolved, unknown)
			m.Spec.To = v1alpha1.Recipients{Users: []v1alpha1.UserID{4}, UserNames: []string{"li.si", "nobody"}}
			m.Spec.Content.Text = &tc.text
			s := newScope(m, leadership.Term{Clean: true}, noon)
			s.beginRevision()
			if diff := cmp.Diff(tc.want, s.recipients, cmpopts.IgnoreFields(delivery.Progress{}, "ByName")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReadProgressOfRevision: progress of another revision than the one that the status shows is not taken over.
func TestReadProgressOfRevision(t *testing.T) {
	for name, tc := range map[string]struct {
		task                 uint32
		wantAdopt, wantKnown bool
	}{
		"of this one":   {1, true, true},
		"of the former": {0, false, false},
		"of a later":    {2, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := resent(ofUser(2, v1alpha1.StatePending, ""), ofUser(3, v1alpha1.StatePending, ""))
			m.Status.Revisions[0].Number = 2
			r := newReconciler(t, m, 0)
			r.Engine.Submit(delivery.Task{
				Key: client.ObjectKeyFromObject(m), UID: m.UID, Identity: delivery.Identity{UID: m.UID, Revision: tc.task},
				Recipients: []delivery.Progress{user(2, v1alpha1.StateRouted, ""), user(3, v1alpha1.StateRouted, "")},
			})
			s := newScope(m, leadership.Term{Clean: true}, noon)
			r.readProgress(s)
			if adopted := s.snapshot != nil; adopted != tc.wantAdopt || r.Engine.Knows(m.UID) != tc.wantKnown {
				t.Errorf("adopted %v, known %v", adopted, r.Engine.Knows(m.UID))
			}
		})
	}
}

// TestNothingSentOfRevision: a text that is not recorded proves that nothing was sent only of a message that was
// recorded as a revision.
func TestNothingSentOfRevision(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*v1alpha1.TeamTalkMessage)
		want bool
	}{
		"text recorded":           {func(*v1alpha1.TeamTalkMessage) {}, false},
		"no text":                 {func(m *v1alpha1.TeamTalkMessage) { m.Status.Text = nil }, true},
		"no text and no revision": {func(m *v1alpha1.TeamTalkMessage) { m.Status.Text, m.Status.Revisions = nil, nil }, false},
		"no text, set back":       {func(m *v1alpha1.TeamTalkMessage) { m.Status.Text, m.Spec.OnChange = nil, v1alpha1.OnChangeReject }, true},
		"no text, in doubt before": {func(m *v1alpha1.TeamTalkMessage) {
			m.Status.Text, m.Status.Recipients[0].State = nil, v1alpha1.StateInDoubt
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := resent(ofUser(2, v1alpha1.StatePending, ""))
			tc.edit(m)
			if got := nothingSent(m); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestRevisionStatus: the end of a revision and the beginning of the next one are recorded at once.
func TestRevisionStatus(t *testing.T) {
	m := resent(ofUser(2, v1alpha1.StateRouted, ""), ofUser(3, v1alpha1.StatePending, ""))
	for n := range int32(v1alpha1.MaxRevisions - 1) {
		m.Status.Revisions = append(m.Status.Revisions, v1alpha1.RevisionStatus{Number: n + 2, Digest: m.Status.ContentDigest, StartTime: metav1.NewTime(noon)})
	}
	m.Spec.Content.Text = new("new")
	s := newScope(m, leadership.Term{Clean: true}, noon)
	s.beginRevision()
	before := m.DeepCopy()
	setStatus(s, nil, noon)
	st := m.Status
	if n := len(st.Revisions); n != v1alpha1.MaxRevisions || st.Revision() != 11 || st.Revisions[0].Number != 2 {
		t.Fatalf("%d revisions: %+v", n, st.Revisions)
	}
	former, current := st.Revisions[8], st.Revisions[9]
	if former.Counts != (v1alpha1.RecipientCounts{Recipients: 2, Stored: 1, Routed: 1}) || former.Superseded != 1 || !former.CompletionTime.Time.Equal(noon) {
		t.Errorf("the former one: %+v", former)
	}
	if current.Counts != (v1alpha1.RecipientCounts{Recipients: 2}) || !current.StartTime.Time.Equal(noon) || current.CompletionTime != nil ||
		current.Digest != contentDigest(m) || current.Digest == former.Digest {
		t.Errorf("the current one: %+v", current)
	}
	if st.Finished || st.ObservedGeneration != 2 || st.SpecDigest != specDigest(m) || st.Text != nil || st.SenderID != nil {
		t.Errorf("%+v", st)
	}
	if !m.Begins().Equal(noon) {
		t.Errorf("it begins at %v", m.Begins())
	}
	if done := s.newlyDone(before.Status.Recipients); len(done) != 0 {
		t.Errorf("newly done: %+v", done)
	}
}

// TestSupersededStatus: while the former revision is being settled, the status is about it.
func TestSupersededStatus(t *testing.T) {
	m := resent(ofUser(2, v1alpha1.StateRouted, ""), ofUser(3, v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer))
	before := m.DeepCopy()
	m.Spec.Content.Text = new("new")
	s := newScope(m, leadership.Term{Clean: true}, noon)
	s.beginRevision()
	setStatus(s, nil, noon)
	if st := m.Status; st.ObservedGeneration != 1 || st.SpecDigest != before.Status.SpecDigest || st.ContentDigest != before.Status.ContentDigest || st.Finished || st.Revision() != 1 {
		t.Errorf("%+v", st)
	}
	// Its last recipient has ended, and the next revision has not begun.
	s.recipients[1].State, s.recipients[1].Reason = v1alpha1.StateFailed, v1alpha1.ReasonSuperseded
	setStatus(s, nil, noon)
	if st := m.Status; st.Finished || m.Finished() || st.Counts.Failed != 0 || st.Revisions[0].Superseded != 1 {
		t.Errorf("%+v", st)
	}
}

// TestSegmentsOfSpec: a text in the spec that takes several segments is recorded with the first status, so that they
// are counted after an edit, whatever the edited spec says of long texts.
func TestSegmentsOfSpec(t *testing.T) {
	long := strings.Repeat("0123456789", 700)
	for name, tc := range map[string]struct {
		text     string
		longText v1alpha1.LongText
		want     int
	}{
		"several segments": {long, v1alpha1.LongTextSplit, 3},
		"one segment":      {"short", v1alpha1.LongTextSplit, 0},
		"refused":          {long, v1alpha1.LongTextReject, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := resent()
			m.Status, m.Generation = v1alpha1.TeamTalkMessageStatus{}, 1
			m.Spec.OnChange, m.Spec.LongText, m.Spec.Content.Text = v1alpha1.OnChangeReject, tc.longText, &tc.text
			s := newScope(m, leadership.Term{Clean: true}, noon)
			s.adopt(delivery.Snapshot{Running: true, Accepted: noon, Sender: 1, Recipients: []delivery.Progress{
				user(2, v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer), user(3, v1alpha1.StatePending, ""),
			}})
			setStatus(s, nil, noon)
			if tc.want == 0 != (m.Status.Text == nil) {
				t.Fatalf("recorded: %+v", m.Status.Text)
			}
			m.Generation, m.Spec.OnChange, m.Spec.Content.Text = 2, v1alpha1.OnChangeResend, new("new")
			m.Spec.LongText, m.Spec.RetryLimit = v1alpha1.LongTextReject, new(int32)
			if tc.longText == v1alpha1.LongTextReject {
				m.Spec.LongText = v1alpha1.LongTextSplit
			}
			s = newScope(m, leadership.Term{Start: metav1.NewTime(noon.Add(time.Minute)), Local: noon.Add(time.Minute)}, noon)
			s.server = &v1alpha1.TeamTalkServer{}
			s.server.Spec.MaxReplicaLagSeconds = new(int32)
			supersede(s)
			if task := taskOf(s); len(task.Payload.Digests) != tc.want || task.Split || !task.PayloadPending {
				t.Errorf("%d segments, split %v", len(task.Payload.Digests), task.Split)
			}
			setStatus(s, nil, noon)
			if tc.want == 0 != (m.Status.Text == nil) {
				t.Errorf("recorded then: %+v", m.Status.Text)
			}
		})
	}
}

// TestSegmentsOfSpecFirst: where the status would let the message be edited, its segments are recorded before a send.
func TestSegmentsOfSpecFirst(t *testing.T) {
	m := resent(ofUser(2, v1alpha1.StatePending, ""), ofUser(3, v1alpha1.StatePending, ""))
	m.Status.Text, m.Status.Revisions, m.Spec.OnChange = nil, nil, v1alpha1.OnChangeReject
	m.Spec.LongText, m.Spec.Content.Text = v1alpha1.LongTextSplit, new(strings.Repeat("0123456789", 700))
	m.Status.ObservedGeneration, m.Status.SpecDigest = m.Generation, specDigest(m)
	s := newScope(m, leadership.Term{Clean: true}, noon)
	s.server = &v1alpha1.TeamTalkServer{}
	s.server.Spec.DeliveryToken = v1alpha1.DeliveryTokenEnabled
	if out := makePayload(s); out != recordFirst {
		t.Errorf("%+v", out)
	}
	setStatus(s, nil, noon)
	s = newScope(m, leadership.Term{Clean: true}, noon)
	s.server = &v1alpha1.TeamTalkServer{}
	s.server.Spec.DeliveryToken = v1alpha1.DeliveryTokenEnabled
	if out := makePayload(s); out != proceed {
		t.Errorf("again: %+v", out)
	}
}
