// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

func userID(id uint32) v1alpha1.Recipient {
	return v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: id}
}

func userName(name string) v1alpha1.Recipient {
	return v1alpha1.Recipient{Type: v1alpha1.RecipientUser, Name: name}
}

// toNames is a message to a user by id, and to others by name.
func toNames(names ...string) *v1alpha1.TeamTalkMessage {
	return toUsers(0, func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Users, m.Spec.To.UserNames = []v1alpha1.UserID{2}, names
	})
}

// TestApplyNames records what names stand for, each recipient once, and takes it up from the status.
func TestApplyNames(t *testing.T) {
	absent := v1alpha1.Cause{Reason: v1alpha1.ReasonRecipientNotFound, Message: "no user has it"}
	pending := func(to v1alpha1.Recipient, byName string) delivery.Progress {
		return delivery.Progress{Recipient: to, ByName: byName, State: v1alpha1.StatePending}
	}
	missing := pending(userName("b"), "")
	missing.Reason, missing.Message = absent.Reason, absent.Message
	failed := missing
	failed.State = v1alpha1.StateFailed
	tests := map[string]struct {
		results []delivery.NameResult // of a and b
		want    []delivery.Progress
	}{
		"found":            {[]delivery.NameResult{{ID: 3}, {ID: 4}}, []delivery.Progress{pending(userID(2), ""), pending(userID(3), "a"), pending(userID(4), "b")}},
		"the same":         {[]delivery.NameResult{{ID: 3}, {ID: 3}}, []delivery.Progress{pending(userID(2), ""), pending(userID(3), "a")}},
		"given by id, too": {[]delivery.NameResult{{ID: 2}, {ID: 2}}, []delivery.Progress{pending(userID(2), "")}},
		"missing":          {[]delivery.NameResult{{ID: 3}, {Cause: absent}}, []delivery.Progress{pending(userID(2), ""), pending(userID(3), "a"), missing}},
		"absent":           {[]delivery.NameResult{{ID: 3}, {Cause: absent, Final: true}}, []delivery.Progress{pending(userID(2), ""), pending(userID(3), "a"), failed}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := toNames("a", "b")
			s := newScope(m, leadership.Term{Clean: true}, noon)
			if !namesUntried(m) || !s.untouched() {
				t.Error("names were tried")
			}
			if !s.applyNames(s.unresolved(), tc.results) {
				t.Error("nothing has changed")
			}
			if diff := cmp.Diff(tc.want, s.recipients); diff != "" {
				t.Error(diff)
			}
			setStatus(s, nil, noon)
			if namesUntried(m) {
				t.Errorf("names were not tried: %+v", m.Status.Recipients)
			}
			again := newScope(m, leadership.Term{Clean: true}, noon)
			if diff := cmp.Diff(tc.want, again.recipients); diff != "" {
				t.Errorf("from the status: %s", diff)
			}
			if unresolved := again.unresolved(); len(unresolved) > 0 && again.applyNames(unresolved, []delivery.NameResult{{Cause: absent}}) {
				t.Error("the same result is a change")
			}
		})
	}
}

// TestNamesOfPriorTerm: what has no id was not sent by anybody.
func TestNamesOfPriorTerm(t *testing.T) {
	created := metav1.NewTime(noon.Add(-time.Hour))
	term := leadership.Term{Start: metav1.NewTime(noon), Local: noon}
	m := toNames("a", "b")
	m.CreationTimestamp = created
	for _, r := range newScope(m, term, noon).recipients {
		if r.State != v1alpha1.StatePending {
			t.Errorf("before names are looked up: %+v", r)
		}
	}
	m.Status.Recipients = []v1alpha1.RecipientStatus{
		{Type: v1alpha1.RecipientUser, ID: 2, State: v1alpha1.StatePending},
		{Type: v1alpha1.RecipientUser, ID: 3, Name: "a", State: v1alpha1.StatePending},
		{Type: v1alpha1.RecipientUser, Name: "b", State: v1alpha1.StatePending, Reason: v1alpha1.ReasonRecipientNotFound},
	}
	s := newScope(m, term, noon)
	for i, want := range []v1alpha1.RecipientState{v1alpha1.StateInDoubt, v1alpha1.StateInDoubt, v1alpha1.StatePending} {
		if s.recipients[i].State != want {
			t.Errorf("after that: %+v, want %s", s.recipients[i], want)
		}
	}
	if s.sendable() != 2 || len(s.resolved()) != 2 || len(s.unresolved()) != 1 {
		t.Errorf("%+v", s.recipients)
	}
}

// TestWithNames: the engine's progress is newer than the status, and has no names.
func TestWithNames(t *testing.T) {
	sent := delivery.Progress{Recipient: userID(2), State: v1alpha1.StateRouted}
	byName := delivery.Progress{Recipient: userID(3), ByName: "a", State: v1alpha1.StateStored}
	name := delivery.Progress{Recipient: userName("b"), State: v1alpha1.StatePending}
	found := delivery.Progress{Recipient: userID(4), ByName: "b", State: v1alpha1.StatePending}
	pending := func(to v1alpha1.Recipient) delivery.Progress {
		return delivery.Progress{Recipient: to, State: v1alpha1.StatePending}
	}
	for what, tc := range map[string]struct{ recorded, want []delivery.Progress }{
		"current":              {[]delivery.Progress{pending(userID(2)), pending(userID(3)), name}, []delivery.Progress{sent, byName, name}},
		"from before the look": {[]delivery.Progress{pending(userID(2)), pending(userName("a")), name}, []delivery.Progress{sent, byName, name}},
		"found since":          {[]delivery.Progress{pending(userID(2)), pending(userID(3)), found}, []delivery.Progress{sent, byName, found}},
		"empty":                {nil, []delivery.Progress{sent, byName}},
	} {
		t.Run(what, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, withNames(tc.recorded, []delivery.Progress{sent, byName})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRefuseName: a name without an id fails at once, unless another resource may have sent it: then it is resolved
// first, so that the store can be asked. At the deadline nothing is said about the store.
func TestRefuseName(t *testing.T) {
	for what, tc := range map[string]struct {
		key                     string
		wantRefused, wantExpiry string
	}{
		"without a key": {"", v1alpha1.ReasonSenderNotPermitted, v1alpha1.ReasonDeadlineExceeded},
		"with a key":    {"k", "", v1alpha1.ReasonOutcomeUnknown},
	} {
		t.Run(what, func(t *testing.T) {
			m := toNames("a")
			m.Spec.IdempotencyKey = tc.key
			s := newScope(m, leadership.Term{Clean: true}, noon)
			s.refuseAll(s.refuse, v1alpha1.ReasonSenderNotPermitted, "no")
			if p := s.recipients[1]; p.Reason != tc.wantRefused || p.Done() != (tc.wantRefused != "") {
				t.Errorf("refused: %+v", p)
			}
			s = newScope(m, leadership.Term{Clean: true}, noon)
			s.expireNames()
			if p := s.recipients[1]; p.Reason != tc.wantExpiry || strings.Contains(p.Message, "stored") {
				t.Errorf("expired: %+v", p)
			}
			if p := s.recipients[0]; p.Done() {
				t.Errorf("not a name: %+v", p)
			}
		})
	}
}

// TestRetryName: a name that was not found is looked up again, and what has an id keeps it.
func TestRetryName(t *testing.T) {
	m := toNames("a", "b")
	failed := func(to v1alpha1.Recipient, name, reason string) v1alpha1.RecipientStatus {
		return v1alpha1.RecipientStatus{Type: to.Type, ID: int64(to.ID), Name: name, State: v1alpha1.StateFailed, Reason: reason}
	}
	m.Status.Recipients = []v1alpha1.RecipientStatus{
		failed(userID(2), "", v1alpha1.ReasonRecipientNotFound), failed(userID(3), "a", v1alpha1.ReasonRecipientDeparted),
		failed(v1alpha1.Recipient{Type: v1alpha1.RecipientUser}, "b", v1alpha1.ReasonRecipientAmbiguous),
	}
	s := newScope(m, leadership.Term{Clean: true}, noon)
	s.retryFailed()
	diff := cmp.Diff([]v1alpha1.Recipient{userName("b")}, s.unresolved())
	if diff != "" || s.sendable() != 2 || s.recipients[1].ByName != "a" {
		t.Errorf("%+v: %s", s.recipients, diff)
	}
	setStatus(s, nil, noon)
	if !namesUntried(m) {
		t.Errorf("%+v", m.Status.Recipients)
	}
}

// TestQueueRecipients: a message keeps the places of its names, and gets those of their ids.
func TestQueueRecipients(t *testing.T) {
	m := toNames("a")
	want := []v1alpha1.Recipient{userID(2), userName("a")}
	if diff := cmp.Diff(want, queueRecipients(m)); diff != "" {
		t.Error(diff)
	}
	m.Status.Recipients = []v1alpha1.RecipientStatus{
		{Type: v1alpha1.RecipientUser, ID: 2}, {Type: v1alpha1.RecipientUser, ID: 3, Name: "a"},
	}
	if diff := cmp.Diff(append(want, userID(3)), queueRecipients(m)); diff != "" {
		t.Error(diff)
	}
}
