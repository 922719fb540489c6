// SPDX-License-Identifier: Apache-2.0

package teamtalkreceiver

import (
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestDeleteIfExpired: the TTL of a receiver begins when a message is done: none is deleted that may still be escalated.
func TestDeleteIfExpired(t *testing.T) {
	const ttl = 600
	finished := metav1.Condition{Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue}
	read := func(reason string) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionRead, Reason: reason}
	}
	ago := func(d time.Duration) *metav1.Time { return new(metav1.NewTime(time.Now().Add(-d))) }
	policy := func(seconds int32) *v1alpha1.ReadPolicy { return &v1alpha1.ReadPolicy{DeadlineSeconds: &seconds} }
	for name, tc := range map[string]struct {
		conditions []metav1.Condition
		completed  time.Duration // ago
		policy     *v1alpha1.ReadPolicy
		escalation *v1alpha1.EscalationStatus
		want       bool
	}{
		"not finished":          {completed: time.Hour},
		"finished long ago":     {conditions: []metav1.Condition{finished}, completed: time.Hour, want: true},
		"finished":              {conditions: []metav1.Condition{finished}, completed: time.Minute},
		"due":                   {conditions: []metav1.Condition{finished, read(v1alpha1.ReasonUnread)}, completed: time.Hour, policy: policy(7200)},
		"due soon ago":          {conditions: []metav1.Condition{finished, read(v1alpha1.ReasonReadDeadlineExceeded)}, completed: time.Hour, policy: policy(3500)},
		"due long ago":          {conditions: []metav1.Condition{finished, read(v1alpha1.ReasonReadDeadlineExceeded)}, completed: time.Hour, policy: policy(60), want: true},
		"being escalated":       {conditions: []metav1.Condition{finished, read(v1alpha1.ReasonNotRouted)}, completed: time.Hour, policy: policy(60), escalation: &v1alpha1.EscalationStatus{StartTime: ago(time.Hour)}},
		"escalated":             {conditions: []metav1.Condition{finished, read(v1alpha1.ReasonNotRouted)}, completed: time.Hour, policy: policy(60), escalation: &v1alpha1.EscalationStatus{StartTime: ago(time.Hour), CompletionTime: ago(time.Minute)}},
		"escalated long ago":    {conditions: []metav1.Condition{finished, read(v1alpha1.ReasonNotRouted)}, completed: time.Hour, policy: policy(60), escalation: &v1alpha1.EscalationStatus{StartTime: ago(time.Hour), CompletionTime: ago(time.Hour)}, want: true},
		"the policy is removed": {conditions: []metav1.Condition{finished, read(v1alpha1.ReasonUnread)}, completed: time.Hour, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := v1alpha1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "m", UID: "u"}}
			m.Spec.ReadPolicy = tc.policy
			m.Status = v1alpha1.TeamTalkMessageStatus{Conditions: tc.conditions, CompletionTime: ago(tc.completed), Escalation: tc.escalation}
			api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(m).WithStatusSubresource().Build()
			r, o := &Reconciler{Client: api, Live: api}, &v1alpha1.TeamTalkReceiver{}
			o.Spec.TTLSecondsAfterFinished = ttl
			key := client.ObjectKeyFromObject(m)
			if err := r.deleteIfExpired(t.Context(), o, key); err != nil {
				t.Fatal(err)
			}
			if err := api.Get(t.Context(), key, m); apierrors.IsNotFound(err) != tc.want {
				t.Errorf("deleted: %v", err)
			}
		})
	}
}
