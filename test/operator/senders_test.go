// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestSendersOfScheduled: a message that waits for its time speaks only as a sender that the
// server allows then, whatever it allowed when the message was made.
func TestSendersOfScheduled(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	as := func(id uint32) func(*v1alpha1.TeamTalkMessage) {
		return func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.SenderID = ptr.To(v1alpha1.UserID(id))
			m.Spec.SendAfter = ptr.To(metav1.NewTime(time.Now().Add(time.Hour)))
		}
	}
	withdrawn, never := x.Message("withdrawn", "hi", as(x.Mate)), x.Message("never", "hi", as(x.Bob))
	x.Create(withdrawn)
	x.Create(never)
	x.AwaitMessage(withdrawn, "scheduled", readyFor(metav1.ConditionTrue, v1alpha1.ReasonScheduled))
	s := &v1alpha1.TeamTalkServer{}
	s.Namespace, s.Name = x.Namespace, v1alpha1.DefaultServerName
	x.Must(world.Admin.Patch(t.Context(), s, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"senders":{"allowed":null}}}`))))
	x.AwaitServer("looked at again", func(now *v1alpha1.TeamTalkServer) bool { return now.Status.ObservedGeneration == s.Generation })
	for _, m := range []*v1alpha1.TeamTalkMessage{withdrawn, never} {
		x.Patch(m, `{"spec":{"sendAfter":null}}`) // its time has come
		x.AwaitMessage(m, "finished", finishedFor(v1alpha1.ReasonSenderNotPermitted))
	}
	all, err := x.TeamTalk.Messages(t.Context())
	x.Must(err)
	for _, row := range all {
		if row.From == x.Mate || row.From == x.Bob {
			t.Errorf("the store holds %+v", row)
		}
	}
}
