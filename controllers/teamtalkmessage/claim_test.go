// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// TestRequireClaim: messages of a server that this process has not claimed are not touched, unless this process has
// begun them, or nobody takes them up.
func TestRequireClaim(t *testing.T) {
	const managed, unclaimed, missing, gone = "another operator's", "not claimed yet", "does not exist", "was another operator's"
	tests := map[string]struct {
		server  string
		claimed bool
		age     time.Duration
		// recorded: the message has a status. known: the engine has it.
		recorded, known bool
		want            outcome
		wantReason      string
	}{
		"claimed":                             {server: managed, claimed: true, want: proceed},
		"no server":                           {server: missing, want: proceed},
		"no server, was another operator's":   {server: gone, want: leave},
		"not claimed yet":                     {server: unclaimed, age: time.Hour, want: requeue(0)},
		"another operator's":                  {server: managed, age: 10 * time.Second, want: requeue(20 * time.Second)},
		"another operator's, recorded":        {server: managed, age: time.Hour, recorded: true, want: leave},
		"another operator's, not taken up":    {server: managed, age: time.Hour, wantReason: v1alpha1.ReasonManagedByAnother},
		"another operator's by now, was ours": {server: managed, recorded: true, known: true, wantReason: v1alpha1.ReasonManagedByAnother},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := expired()
			r := newReconciler(t, m, 0)
			if tc.server != missing {
				s := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "default"}}
				other := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "elsewhere", Name: "lease"}}
				other.Spec.HolderIdentity = new("other")
				s.Status.ManagedBy = &v1alpha1.ManagedBy{LeaseNamespace: other.Namespace, LeaseName: other.Name}
				for _, o := range []client.Object{s, other} {
					if err := r.Client.Create(t.Context(), o); err != nil {
						t.Fatal(err)
					}
				}
				if tc.server == managed || tc.server == gone {
					if refusal, err := r.Claims.Claim(t.Context(), s); refusal == nil || err != nil {
						t.Fatalf("%+v, %v", refusal, err)
					}
				}
				if tc.server == gone {
					if err := r.Client.Delete(t.Context(), s); err != nil {
						t.Fatal(err)
					}
				}
			}
			if tc.recorded {
				m.Status.StartTime = &metav1.Time{Time: noon}
			}
			s := newScope(m, leadership.Term{Clean: true}, m.CreationTimestamp.Add(tc.age))
			s.claimed = tc.claimed
			if tc.known {
				s.snapshot = &delivery.Snapshot{}
			}
			out, err := r.requireClaim(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if tc.wantReason == "" && out != tc.want || tc.wantReason != "" && (out.cause == nil || out.cause.Reason != tc.wantReason) {
				t.Errorf("%+v, want %+v, %s", out, tc.want, tc.wantReason)
			}
		})
	}
}
