// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
)

// toRead has a readPolicy that is due for a day.
func toRead(m *v1alpha1.TeamTalkMessage) {
	m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{DeadlineSeconds: new(int32(86400))}
}

// isRead has been read when it finished.
func isRead(m *v1alpha1.TeamTalkMessage) {
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionRead, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRead, LastTransitionTime: metav1.Unix(1, 0),
	})
}

func withQuorum(n int32) func(*v1alpha1.TeamTalkMessage) {
	return func(m *v1alpha1.TeamTalkMessage) { m.Spec.ReadPolicy.Quorum = &n }
}

// recipients replaces the recipients by users in these states: "r" is read, "R" routed, "S" stored and "F" failed.
func recipients(states string) func(*v1alpha1.TeamTalkMessage) {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Users, m.Status.Recipients = nil, nil
		m.Status.SenderID = new(v1alpha1.UserID(1))
		m.Status.Counts = &v1alpha1.RecipientCounts{}
		for i, state := range states {
			r := v1alpha1.RecipientStatus{Type: v1alpha1.RecipientUser, ID: int64(3 + i), MessageIDs: []int64{5}}
			switch state {
			case 'r':
				r.State, r.ReadBy, r.ReadAt = v1alpha1.StateRouted, 1, m.Status.CompletionTime
			case 'R':
				r.State = v1alpha1.StateRouted
			case 'S':
				r.State, r.Reason = v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted
			case 'F':
				r.State, r.Reason, r.MessageIDs = v1alpha1.StateFailed, v1alpha1.ReasonRetriesExhausted, nil
			}
			m.Spec.To.Users = append(m.Spec.To.Users, v1alpha1.UserID(r.ID))
			m.Status.Recipients = append(m.Status.Recipients, r)
		}
	}
}

// TestSetRead: the condition Read, what the column shows, and whether the message is settled.
func TestSetRead(t *testing.T) {
	type changes = []func(*v1alpha1.TeamTalkMessage)
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		changes      changes
		missed       string
		after        time.Duration // since it finished
		want         string
		wantReason   string
		wantSummary  string
		wantUnsettle bool
	}{
		"unread, no policy":         {changes{recipients("RR")}, "", day, "", "", "0/2", false},
		"one has read, no policy":   {changes{recipients("rR")}, "", 0, "", "", "1/2", false},
		"read, no policy":           {changes{recipients("rr")}, "", 0, "True", v1alpha1.ReasonRead, "2/2", false},
		"read by all it came to":    {changes{recipients("rSF")}, "", 0, "True", v1alpha1.ReasonRead, "1/1", false},
		"routed to nobody":          {changes{recipients("SF")}, "", 0, "", "", "", false},
		"unread":                    {changes{recipients("RR"), toRead}, "", day - 1, "False", v1alpha1.ReasonUnread, "0/2", true},
		"one has read":              {changes{recipients("rR"), toRead}, "", 0, "False", v1alpha1.ReasonUnread, "1/2", true},
		"read":                      {changes{recipients("rr"), toRead}, "", day, "True", v1alpha1.ReasonRead, "2/2", false},
		"quorum":                    {changes{recipients("rR"), toRead, withQuorum(1)}, "", 0, "True", v1alpha1.ReasonRead, "1/2", false},
		"no quorum":                 {changes{recipients("rRR"), toRead, withQuorum(2)}, "", 0, "False", v1alpha1.ReasonUnread, "1/3", true},
		"quorum cannot be reached":  {changes{recipients("RSF"), toRead, withQuorum(2)}, "", 0, "False", v1alpha1.ReasonNotRouted, "0/1", false},
		"routed to nobody, policy":  {changes{recipients("SF"), toRead}, "", 0, "False", v1alpha1.ReasonNotRouted, "", false},
		"deadline":                  {changes{recipients("rR"), toRead}, "", day, "False", v1alpha1.ReasonReadDeadlineExceeded, "1/2", false},
		"may have been read":        {changes{recipients("rR"), toRead}, "who knows", 0, "Unknown", v1alpha1.ReasonReadsMissed, "1/2", true},
		"may have been, deadline":   {changes{recipients("rR"), toRead}, "who knows", day, "False", v1alpha1.ReasonReadDeadlineExceeded, "1/2", false},
		"read, deadline and missed": {changes{recipients("rR"), toRead, withQuorum(1)}, "who knows", day, "True", v1alpha1.ReasonRead, "1/2", false},
		"suspended":                 {changes{recipients("R"), mayEscalate, suspend}, "", day - 1, "False", v1alpha1.ReasonUnread, "0/1", true},
		"suspended, deadline":       {changes{recipients("R"), mayEscalate, suspend}, "", day, "False", v1alpha1.ReasonSuspended, "0/1", true},
		"suspended, may have been":  {changes{recipients("R"), mayEscalate, suspend}, "who knows", day, "Unknown", v1alpha1.ReasonSuspended, "0/1", true},
		"suspended, and read":       {changes{recipients("r"), mayEscalate, suspend}, "", day, "True", v1alpha1.ReasonRead, "1/1", false},
		"suspended, nobody to tell": {changes{recipients("R"), toRead, suspend}, "", day, "False", v1alpha1.ReasonReadDeadlineExceeded, "0/1", false},
		"suspended, and resolved":   {changes{recipients("R"), mayEscalate, suspend, resolve}, "", day, "False", v1alpha1.ReasonReadDeadlineExceeded, "0/1", false},
		"suspended too late":        {changes{recipients("R"), mayEscalate, suspend, escalating}, "", day, "False", v1alpha1.ReasonReadDeadlineExceeded, "0/1", true},
		"read with a TTL":           {changes{recipients("r"), setTTL(60)}, "", 0, "True", v1alpha1.ReasonRead, "1/1", true},
		"unfinished":                {changes{recipients("rr"), isRead, unfinish}, "", 0, "", "", "", true},
		"policy removed":            {changes{recipients("rR"), isRead}, "", 0, "", "", "1/2", false},
		"a longer deadline is set":  {changes{recipients("R"), toRead, exceeded}, "", time.Hour, "False", v1alpha1.ReasonUnread, "0/1", true},
		"missed, and read since":    {changes{recipients("r"), toRead}, "who knows", 0, "True", v1alpha1.ReasonRead, "1/1", false},
		"the default deadline":      {changes{recipients("R"), func(m *v1alpha1.TeamTalkMessage) { m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{} }}, "", day, "False", v1alpha1.ReasonReadDeadlineExceeded, "0/1", false},
		"before the default's time": {changes{recipients("R"), func(m *v1alpha1.TeamTalkMessage) { m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{} }}, "", day - 1, "False", v1alpha1.ReasonUnread, "0/1", true},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, tc.changes...)
			setRead(m, tc.missed, m.Status.CompletionTime.Add(tc.after))
			var got, reason, wantMissed string
			if tc.wantReason != v1alpha1.ReasonRead {
				wantMissed = tc.missed
			}
			if c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead); c != nil {
				got, reason = string(c.Status), c.Reason
				if missed := recordedMissed(m); missed != wantMissed || !strings.HasPrefix(c.Message, "read by ") {
					t.Errorf("%q tells %q, want %q", c.Message, missed, wantMissed)
				}
			}
			shown := m.DeepCopy()
			if setRead(m, recordedMissed(m), m.Status.CompletionTime.Add(tc.after)); !equality.Semantic.DeepEqual(shown, m) {
				t.Errorf("computed again: %+v", m.Status)
			}
			if got != tc.want || reason != tc.wantReason || m.Status.ReadSummary != tc.wantSummary || m.Status.Settled == tc.wantUnsettle {
				t.Errorf("Read is %s %s, %q, settled %v", got, reason, m.Status.ReadSummary, m.Status.Settled)
			}
		})
	}
}

func exceeded(m *v1alpha1.TeamTalkMessage) {
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionRead, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonReadDeadlineExceeded,
	})
}

// TestReadsAreKept: what is known of reads passes through the statuses that are computed from it, and not to a revision
// with another content.
func TestReadsAreKept(t *testing.T) {
	for name, tc := range map[string]struct {
		change     func(*v1alpha1.TeamTalkMessage)
		wantReadBy int32
		wantRead   bool
	}{
		"TTL added": {func(m *v1alpha1.TeamTalkMessage) { changeSpec(m); setTTL(60)(m) }, 1, true},
		"edited":    {func(m *v1alpha1.TeamTalkMessage) { m.Spec.OnChange = v1alpha1.OnChangeResend; editText(m) }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, recipients("r"), isRead)
			m.Status.SpecDigest, m.Status.ContentDigest = specDigest(m), contentDigest(m)
			tc.change(m)
			s := newScope(m, leadership.Term{Clean: true}, time.Now())
			s.beginRevision()
			setStatus(s, nil, time.Now())
			read := meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionRead)
			if r := m.Status.Recipients[0]; r.ReadBy != tc.wantReadBy || (r.ReadAt != nil) != tc.wantRead || read != tc.wantRead ||
				m.Status.Counts.Read != tc.wantReadBy {
				t.Errorf("%+v, counts %+v, conditions %+v", r, m.Status.Counts, m.Status.Conditions)
			}
		})
	}
}

// TestApplyReceipts: a read is recorded of the message that was routed, and in time.
func TestApplyReceipts(t *testing.T) {
	user := v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 3}
	for name, tc := range map[string]struct {
		states string
		change func(*v1alpha1.TeamTalkMessage)
		sent   readreceipt.Sent
		after  time.Duration // since it finished
		want   int32
	}{
		"read":                                  {"R", toRead, readreceipt.Sent{To: user, First: 5, Last: 5}, time.Minute, 1},
		"an earlier message":                    {"R", toRead, readreceipt.Sent{To: user, First: 4, Last: 4}, time.Minute, 0},
		"not its last part":                     {"R", toRead, readreceipt.Sent{To: user, First: 5, Last: 6}, time.Minute, 0},
		"not routed":                            {"S", toRead, readreceipt.Sent{To: user, First: 5, Last: 5}, time.Minute, 0},
		"too late":                              {"R", mayEscalate, readreceipt.Sent{To: user, First: 5, Last: 5}, 25 * time.Hour, 0},
		"before the confirmation of the router": {"R", toRead, readreceipt.Sent{To: user, First: 5, Last: 5}, -time.Minute, 1},
		"suspended": {"R", func(m *v1alpha1.TeamTalkMessage) {
			mayEscalate(m)
			suspend(m)
		}, readreceipt.Sent{To: user, First: 5, Last: 5}, 25 * time.Hour, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, recipients(tc.states), tc.change)
			m.Status.Recipients[0].RoutedAt = m.Status.CompletionTime
			m.Status.Revisions = []v1alpha1.RevisionStatus{{Number: 1}}
			applyReceipts(m, []readreceipt.Receipt{{Sent: tc.sent, ReadAt: m.Status.CompletionTime.Add(tc.after), ReadBy: 1}})
			r := m.Status.Recipients[0]
			if r.ReadBy != tc.want || m.Status.Counts.Read != tc.want || m.Status.Revisions[0].Counts.Read != tc.want {
				t.Errorf("%+v, counts %+v", r, m.Status.Counts)
			}
			if tc.want > 0 && r.ReadAt.Before(r.RoutedAt) {
				t.Errorf("read at %v, routed at %v", r.ReadAt, r.RoutedAt)
			}
		})
	}
}

// TestIsReadShown: without a readPolicy, the first read and the last are written.
func TestIsReadShown(t *testing.T) {
	for name, tc := range map[string]struct {
		before, after string
		policy        bool
		want          bool
	}{
		"nothing":            {"RRR", "RRR", false, false},
		"first":              {"RRR", "rRR", false, true},
		"second":             {"rRR", "rrR", false, false},
		"last":               {"rrR", "rrr", false, true},
		"second, to be read": {"rRR", "rrR", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := finishedMessage(v1alpha1.StateRouted, recipients(tc.before)), finishedMessage(v1alpha1.StateRouted, recipients(tc.after))
			if tc.policy {
				toRead(before)
			}
			if got := isReadShown(before, after); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestReadEvent: the end of the deadline is told once.
func TestReadEvent(t *testing.T) {
	before, after := finishedMessage("Routed", recipients("R"), toRead), finishedMessage("Routed", recipients("R"), toRead)
	setRead(after, "", after.ReadDeadline())
	if e := readEvent(before, after); e.reason != v1alpha1.ReasonReadDeadlineExceeded || e.note != "read by 0 of 1 routed recipient" {
		t.Errorf("%+v", e)
	}
	if e := readEvent(after, after); e != (statusEvent{}) {
		t.Errorf("again: %+v", e)
	}
}

// TestReadDecided: a readPolicy is counted once, when it is not due any more.
func TestReadDecided(t *testing.T) {
	type changes = []func(*v1alpha1.TeamTalkMessage)
	unread, read := changes{recipients("R"), toRead}, changes{recipients("r"), toRead}
	for name, tc := range map[string]struct {
		before, after changes
		passed        time.Duration // since it finished
		want          []string
	}{
		"unread":         {unread, unread, time.Minute, nil},
		"read":           {unread, read, time.Minute, []string{"/ Read"}},
		"counted before": {read, read, time.Minute, nil},
		"too late":       {unread, unread, 25 * time.Hour, []string{"/ ReadDeadlineExceeded"}},
		"no policy":      {changes{recipients("R")}, changes{recipients("r")}, time.Minute, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := finishedMessage(v1alpha1.StateRouted, tc.before...), finishedMessage(v1alpha1.StateRouted, tc.after...)
			setRead(before, "", before.Status.CompletionTime.Time)
			setRead(after, "", after.Status.CompletionTime.Add(tc.passed))
			r := newReconciler(t, after, 0)
			r.Sessions = connection.NewManager(logr.Discard(), nil, nil, connection.Events{}) // the server is gone
			var got []string
			r.OnReadDecided = func(server types.NamespacedName, reason string) { got = append(got, server.String()+" "+reason) }
			r.reportRead(before, after)
			if !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// escalating has begun to be escalated.
func escalating(m *v1alpha1.TeamTalkMessage) {
	m.Spec.ReadPolicy.EscalateTo = &v1alpha1.Recipients{Users: []v1alpha1.UserID{4}}
	m.Status.Escalation = &v1alpha1.EscalationStatus{StartTime: new(metav1.Now())}
}
