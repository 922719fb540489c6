package operator

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestRoomOfOneServer: while 10,000 recipients of a server are under way, its next
// message waits; it is taken up when others end, and another server's at once.
func TestRoomOfOneServer(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer(func(s *v1alpha1.TeamTalkServer) {
		s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{"127.0.0.1:1"}
	})
	everybody := make([]uint32, v1alpha1.MaxRecipients)
	for i := range everybody {
		everybody[i] = x.bot + 10 + uint32(i)
	}
	full := 10_000 / len(everybody)
	var messages []*v1alpha1.TeamTalkMessage
	for n := range full + 1 {
		m := x.message(fmt.Sprintf("m-%02d", n), "hello", toUsers(everybody...))
		x.create(m)
		messages = append(messages, m)
	}
	waits := readyFor(metav1.ConditionFalse, v1alpha1.ReasonServerNotReady)
	for _, m := range messages[:full] {
		x.await(m, "waiting for its server", waits)
	}
	last := messages[full]
	if got := x.await(last, "there", func(*v1alpha1.TeamTalkMessage) bool { return true }); got.Status.StartTime != nil {
		t.Errorf("it is taken up, beyond the bound: %+v", got.Status.Conditions)
	}
	other := newTenant(t).withServer()
	m := other.message("m", "hello")
	other.create(m)
	other.awaitDelivered(m)
	x.must(world.Admin.Delete(t.Context(), messages[0]))
	x.await(last, "taken up", waits)
}
