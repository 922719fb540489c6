// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// TestRecordUnderWay: a message that its own write has woken is not written again for each recipient that has made
// progress meanwhile. What the conditions show is written at once, and so is the end.
func TestRecordUnderWay(t *testing.T) {
	const stored, pending = v1alpha1.StateStored, v1alpha1.StatePending
	for name, tc := range map[string]struct {
		snapshot delivery.Snapshot
		reason   string
		edited   bool
		first    bool
		want     bool
	}{
		"progress":        {snapshot: delivery.Snapshot{Running: true}},
		"progress, first": {snapshot: delivery.Snapshot{Running: true}, first: true},
		"due, first":      {snapshot: delivery.Snapshot{Running: true, Due: true}, first: true, want: true},
		"it waits, first": {
			snapshot: delivery.Snapshot{Running: true}, first: true, reason: v1alpha1.ReasonServerNotReady, want: true,
		},
		"progress is due": {snapshot: delivery.Snapshot{Running: true, Due: true}, want: true},
		"the end":         {snapshot: delivery.Snapshot{}, want: true},
		"it waits":        {snapshot: delivery.Snapshot{Running: true}, reason: v1alpha1.ReasonServerNotReady, want: true},
		"it was edited":   {snapshot: delivery.Snapshot{Running: true}, edited: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := expired()
			m.Spec.Deadline, m.Spec.To.Users = nil, []v1alpha1.UserID{3, 4}
			r := newReconciler(t, m, 0)
			record := func(snapshot delivery.Snapshot, first, second delivery.Progress) (written bool) {
				before := m.ResourceVersion
				s := newScope(m, leadership.Term{Clean: true}, noon)
				snapshot.Accepted, snapshot.Recipients = noon, []delivery.Progress{first, second}
				s.adopt(snapshot)
				if _, err := r.record(t.Context(), s, underWay); err != nil {
					t.Fatal(err)
				}
				if err := r.Live.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
					t.Fatal(err)
				}
				return m.ResourceVersion != before
			}
			if !tc.first && !record(delivery.Snapshot{Running: true, Due: true}, user(3, pending, ""), user(4, pending, "")) {
				t.Fatal("the first progress is not recorded")
			}
			if tc.edited {
				m.Generation++
			}
			if got := record(tc.snapshot, user(3, stored, ""), user(4, pending, tc.reason)); got != tc.want {
				t.Errorf("written: %v", got)
			}
		})
	}
}

// TestRecordOutsideTerm: an operator that may not send records only its own deliveries.
func TestRecordOutsideTerm(t *testing.T) {
	for name, tc := range map[string]struct {
		snapshot *delivery.Snapshot
		out      outcome
		want     bool
	}{
		"its deadline passed":       {out: done},
		"it waits":                  {out: waitFor(v1alpha1.ReasonSuspended, "suspended")},
		"it expired in the engine":  {&delivery.Snapshot{Recipients: []delivery.Progress{user(3, v1alpha1.StateFailed, v1alpha1.ReasonDeadlineExceeded)}}, done, false},
		"what was sent is recorded": {&delivery.Snapshot{Recipients: []delivery.Progress{user(3, v1alpha1.StateStored, "")}}, done, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := expired()
			r := newReconciler(t, m, 0)
			before := m.ResourceVersion
			s := newScope(m, leadership.Term{Clean: true}, noon)
			s.message.Status.StartTime = ptr.To(metav1.NewTime(noon)) // a change that would be written
			if tc.snapshot != nil {
				tc.snapshot.Accepted = noon
				s.adopt(*tc.snapshot)
			}
			r.Gate = func() error { return leadership.ErrGateClosed }
			result, err := r.record(t.Context(), s, tc.out)
			if err != nil || !tc.want && result.RequeueAfter == 0 {
				t.Errorf("%+v, %v", result, err)
			}
			if err := r.Live.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
				t.Fatal(err)
			}
			if got := m.ResourceVersion != before; got != tc.want {
				t.Errorf("written: %v", got)
			}
		})
	}
}

// TestEventOf: there is one event for each change that a user should notice.
func TestEventOf(t *testing.T) {
	message := func(reason string, recipients ...v1alpha1.RecipientStatus) *v1alpha1.TeamTalkMessage {
		m := &v1alpha1.TeamTalkMessage{Status: v1alpha1.TeamTalkMessageStatus{Recipients: recipients}}
		if reason != "" {
			meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
				Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: "so it is",
			})
		}
		return m
	}
	doubt := func(attempts int32) v1alpha1.RecipientStatus {
		return v1alpha1.RecipientStatus{State: v1alpha1.StateInDoubt, Attempts: attempts}
	}
	tests := map[string]struct {
		before, after *v1alpha1.TeamTalkMessage
		want          string
	}{
		"delivered":             {message(v1alpha1.ReasonSending), message(v1alpha1.ReasonDelivered), ""},
		"scheduled":             {message(""), message(v1alpha1.ReasonScheduled), ""},
		"failed":                {message(v1alpha1.ReasonSending), message(v1alpha1.ReasonGroupNotFound), "Warning GroupNotFound so it is"},
		"no news":               {message(v1alpha1.ReasonNoAnswer, doubt(1)), message(v1alpha1.ReasonNoAnswer, doubt(2)), ""},
		"not answered":          {message(""), message(v1alpha1.ReasonNoAnswer, doubt(0), doubt(1)), "Warning NoAnswer so it is"},
		"another leader's":      {message(""), message(v1alpha1.ReasonNoAnswer, doubt(0)), ""},
		"delivered, but silent": {message(""), message(v1alpha1.ReasonDelivered, v1alpha1.RecipientStatus{Reason: v1alpha1.ReasonStoredNotRouted, Message: "no router"}), "Warning StoredNotRouted no router"},
		"adopted":               {message(""), message(v1alpha1.ReasonDelivered, v1alpha1.RecipientStatus{Reason: v1alpha1.ReasonAdopted, Message: "found"}), "Normal Adopted found"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			e := eventOf(tc.before, tc.after)
			if got := strings.TrimSpace(e.kind + " " + e.reason + " " + e.note); got != tc.want {
				t.Errorf("event %q, want %q", got, tc.want)
			}
		})
	}
}
