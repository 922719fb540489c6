// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// finishedMessage is as the API server sends it.
func finishedMessage() *v1alpha1.TeamTalkMessage {
	text, sender := "a long story", v1alpha1.UserID(1)
	at := metav1.NewTime(time.Unix(1000, 0))
	condition := func(name string) metav1.Condition {
		return metav1.Condition{
			Type: name, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDelivered,
			Message: "delivered to 1 recipient", ObservedGeneration: 2, LastTransitionTime: at,
		}
	}
	return &v1alpha1.TeamTalkMessage{
		TypeMeta: metav1.TypeMeta{Kind: "TeamTalkMessage", APIVersion: v1alpha1.GroupVersion.String()},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "chat", Name: "m", UID: "u", ResourceVersion: "7", Generation: 2, CreationTimestamp: at,
			DeletionTimestamp: &at, Finalizers: []string{"somebody/else"}, Labels: map[string]string{"a": "b"},
			Annotations:   map[string]string{"teamtalk.io/retry": "2", lastApplied: "the whole of it"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		},
		Spec: v1alpha1.TeamTalkMessageSpec{
			ServerRef: &v1alpha1.ServerReference{Name: "other", Namespace: "im"}, SenderID: &sender, TTLSecondsAfterFinished: ptr.To(int32(7)),
			To: v1alpha1.Recipients{Users: []v1alpha1.UserID{3}}, Content: v1alpha1.Content{Text: &text},
		},
		Status: v1alpha1.TeamTalkMessageStatus{
			ObservedGeneration: 2, StartTime: &at, CompletionTime: &at, RecipientsSummary: "1/1", LastHandledRetry: "1",
			Recipients: []v1alpha1.RecipientStatus{{Type: v1alpha1.RecipientUser, ID: 3, State: v1alpha1.StateRouted}},
			Conditions: []metav1.Condition{
				condition(v1alpha1.ConditionReady), condition(v1alpha1.ConditionDelivered), condition(v1alpha1.ConditionFinished),
			},
		},
	}
}

func TestSlimFinished(t *testing.T) {
	whole := finishedMessage()
	want := &v1alpha1.TeamTalkMessage{
		ObjectMeta: whole.ObjectMeta,
		Spec:       v1alpha1.TeamTalkMessageSpec{TTLSecondsAfterFinished: whole.Spec.TTLSecondsAfterFinished},
		Status: v1alpha1.TeamTalkMessageStatus{
			CompletionTime: whole.Status.CompletionTime, LastHandledRetry: "1",
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue, ObservedGeneration: 2}},
		},
	}
	want.Labels, want.ManagedFields = nil, nil
	delete(want.Annotations, lastApplied)
	var in any = finishedMessage()
	for _, time := range []string{"once", "twice"} { // lists go through it twice
		out, err := Slim(in)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out); diff != "" {
			t.Errorf("slimmed %s: %s", time, diff)
		}
		m := out.(*v1alpha1.TeamTalkMessage)
		if !m.Finished() || !slimmed(m) || !m.RetryAsked() || !m.ExpiresAt().Equal(finishedMessage().ExpiresAt()) {
			t.Errorf("slimmed %s: finished %v, slimmed %v, expires %v", time, m.Finished(), slimmed(m), m.ExpiresAt())
		}
		in = out
	}
}

// TestSlimUnfinished: what is still to be sent, by an edit too, is kept whole.
func TestSlimUnfinished(t *testing.T) {
	edits := map[string]func(*v1alpha1.TeamTalkMessage){
		"edited":       func(m *v1alpha1.TeamTalkMessage) { m.Generation++ },
		"not finished": func(m *v1alpha1.TeamTalkMessage) { m.Status.Conditions = m.Status.Conditions[:2] },
		"new":          func(m *v1alpha1.TeamTalkMessage) { m.Status = v1alpha1.TeamTalkMessageStatus{} },
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage()
			edit(m)
			want := m.DeepCopy()
			want.ManagedFields, want.TypeMeta = nil, metav1.TypeMeta{}
			out, err := Slim(m)
			if diff := cmp.Diff(want, out); diff != "" || err != nil || slimmed(m) {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
	if out, err := Slim(&corev1.Namespace{}); out == nil || err != nil {
		t.Errorf("another kind: %v %v", out, err)
	}
}

// TestSlimIsNotWrittenBack: it is not written, whatever comes to record it.
func TestSlimIsNotWrittenBack(t *testing.T) {
	out, err := Slim(finishedMessage())
	if err != nil {
		t.Fatal(err)
	}
	before := out.(*v1alpha1.TeamTalkMessage)
	s := &scope{message: before.DeepCopy(), recipients: []delivery.Progress{{}}}
	setStatus(s, nil, time.Now())
	// Without a client: it does not come so far.
	if _, err := (&Reconciler{}).writeStatus(t.Context(), before, s.message); err == nil {
		t.Error("the status is written")
	}
}
