// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// lateScope is of a message that is under way to user 2, and whose name "a" was recorded as that of user 3 since.
func lateScope(late v1alpha1.RecipientState) *scope {
	m := toNames("a")
	m.Status.Recipients = []v1alpha1.RecipientStatus{
		ofUser(2, v1alpha1.StatePending, ""),
		{Type: v1alpha1.RecipientUser, ID: 3, Name: "a", State: late},
	}
	s := newScope(m, leadership.Term{Clean: true}, noon)
	s.server = &v1alpha1.TeamTalkServer{}
	s.server.Spec.Senders.Default = 1
	s.adopt(delivery.Snapshot{Running: true, Sender: 1, Recipients: []delivery.Progress{user(2, v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)}})
	return s
}

// TestLateIsChecked: a recipient that is found while the others are in progress is checked like the others before it is
// sent to. These go on.
func TestLateIsChecked(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*scope)
		want string
	}{
		"permitted":         {func(*scope) {}, ""},
		"recipient denied":  {func(s *scope) { s.server.Spec.Recipients = deny(2, 3) }, v1alpha1.ReasonRecipientNotPermitted},
		"the sender itself": {func(s *scope) { s.sender, s.server.Spec.Senders.Default = 3, 3 }, v1alpha1.ReasonSendToSelf},
		"sender denied":     {func(s *scope) { s.sender = 9 }, v1alpha1.ReasonSenderNotPermitted},
		"tokens were disabled": {func(s *scope) {
			s.message.Spec.IdempotencyKey, s.server.Spec.DeliveryToken = "k", v1alpha1.DeliveryTokenDisabled
		}, v1alpha1.ReasonContentInvalid},
		"an edit came meantime": {func(s *scope) { s.origin = originSuperseded; s.beginRevision() }, v1alpha1.ReasonSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			s := lateScope(v1alpha1.StatePending)
			tc.edit(s)
			checkSender(s)
			checkRecipients(s)
			checkIdempotencyKey(s)
			if late := s.recipients[1]; late.Reason != tc.want || late.Done() != (tc.want != "") {
				t.Errorf("%+v, want %q", late, tc.want)
			}
			if first := s.recipients[0]; first.Done() || len(s.refusals) > 0 {
				t.Errorf("%+v, %+v", first, s.refusals)
			}
		})
	}
}

func deny(users ...v1alpha1.UserID) *v1alpha1.RecipientRules {
	return &v1alpha1.RecipientRules{Deny: v1alpha1.RecipientIDs{Users: users}}
}

// TestLateIsStaged: without a token, its time is recorded before it is sent, whether or not its payload is at hand.
func TestLateIsStaged(t *testing.T) {
	r := newReconciler(t, expired(), 0)
	stage := func(s *scope) {
		t.Helper()
		if out := r.stageCreateTime(s); out != recordFirst || s.recipients[1].CreateTime == 0 || s.recipients[0].CreateTime != 0 {
			t.Errorf("%+v: %+v", out, s.recipients)
		}
		if out := r.stageCreateTime(s); out != proceed {
			t.Errorf("staged again: %+v", out)
		}
	}
	s := lateScope(v1alpha1.StatePending)
	s.server.Spec.DeliveryToken = v1alpha1.DeliveryTokenDisabled
	stage(s)
	// The engine has nothing of it, and its ConfigMap is missing: what is found then would be sent at once.
	s = lateScope(v1alpha1.StatePending)
	s.server.Spec.DeliveryToken = v1alpha1.DeliveryTokenDisabled
	s.snapshot, s.late = nil, nil
	s.recipients[0].Attempts, s.payloadPending = 1, &v1alpha1.Cause{Reason: v1alpha1.ReasonContentNotFound}
	stage(s)
}
