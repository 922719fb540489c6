// SPDX-License-Identifier: Apache-2.0

package teamtalkreceiver

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestCheckSenderName: while TeamTalk cannot say who the sender is, what was found of the present spec stays.
func TestCheckSenderName(t *testing.T) {
	refused := func(generation int64) []metav1.Condition {
		return []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonSendToSelf, Message: "as before", ObservedGeneration: generation,
		}}
	}
	tests := map[string]struct {
		login       string
		conditions  []metav1.Condition
		want        string
		wantChecked bool
	}{
		"another user":                 {login: "bot", wantChecked: true},
		"the sender":                   {login: "alice", want: v1alpha1.ReasonSendToSelf, wantChecked: true},
		"not known":                    {},
		"not known, refused before":    {conditions: refused(2), want: v1alpha1.ReasonSendToSelf},
		"not known, edited since":      {conditions: refused(1)},
		"another user, refused before": {login: "bot", conditions: refused(2), wantChecked: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := v1alpha1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			server := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "default"}}
			r := &Reconciler{
				Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(server).Build(),
				LoginName: func(context.Context, types.NamespacedName, uint32) string {
					return tc.login
				},
			}
			o := &v1alpha1.TeamTalkReceiver{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "alerts", Generation: 2}}
			o.Spec.To.UserNames, o.Status.Conditions = []string{"alice"}, tc.conditions
			cause, isChecked := r.checkSenderName(t.Context(), o)
			reason := ""
			if cause != nil {
				reason = cause.Reason
			}
			if reason != tc.want || isChecked != tc.wantChecked {
				t.Errorf("refused for %q, checked: %t", reason, isChecked)
			}
		})
	}
}
