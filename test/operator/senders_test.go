package operator

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestSendersOfScheduled: a message that waits for its time speaks as nobody whom the
// server does not allow then, whomever it allowed when the message was made.
func TestSendersOfScheduled(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer()
	as := func(id uint32) func(*v1alpha1.TeamTalkMessage) {
		return func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.SenderID = ptr.To(v1alpha1.UserID(id))
			m.Spec.SendAfter = ptr.To(metav1.NewTime(time.Now().Add(time.Hour)))
		}
	}
	withdrawn, never := x.message("withdrawn", "hi", as(x.mate)), x.message("never", "hi", as(x.bob))
	x.create(withdrawn)
	x.create(never)
	x.await(withdrawn, "scheduled", readyFor(metav1.ConditionTrue, v1alpha1.ReasonScheduled))
	s := &v1alpha1.TeamTalkServer{}
	s.Namespace, s.Name = x.namespace, v1alpha1.DefaultServerName
	x.must(world.Admin.Patch(t.Context(), s, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"senders":{"allowed":null}}}`))))
	x.awaitServer("looked at again", func(now *v1alpha1.TeamTalkServer) bool { return now.Status.ObservedGeneration == s.Generation })
	for _, m := range []*v1alpha1.TeamTalkMessage{withdrawn, never} {
		x.patch(m, `{"spec":{"sendAfter":null}}`) // its time has come
		x.await(m, "finished", finishedFor(v1alpha1.ReasonSenderNotPermitted))
	}
	all, err := x.teamtalk.Messages(t.Context())
	x.must(err)
	for _, row := range all {
		if row.From == x.mate || row.From == x.bob {
			t.Errorf("the store holds %+v", row)
		}
	}
}
