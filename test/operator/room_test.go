// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestRoomOfOneServer: while 10,000 recipients of a server are under way, its next
// message waits; it is taken up when others end, and another server's at once.
func TestRoomOfOneServer(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, framework.Unreachable)
	everybody := make([]uint32, v1alpha1.MaxRecipients)
	for i := range everybody {
		everybody[i] = x.Bot + 10 + uint32(i)
	}
	full := 10_000 / len(everybody)
	var messages []*v1alpha1.TeamTalkMessage
	for n := range full + 1 {
		m := x.Declare(fmt.Sprintf("m-%02d", n), "hello", toUsers(everybody...))
		messages = append(messages, m)
	}
	waits := readyFor(metav1.ConditionFalse, v1alpha1.ReasonServerNotReady)
	for _, m := range messages[:full] {
		x.AwaitMessage(m, "waiting for its server", waits)
	}
	last := messages[full]
	if got := x.AwaitMessage(last, "there", func(*v1alpha1.TeamTalkMessage) bool { return true }); got.Status.StartTime != nil {
		t.Errorf("it is taken up, beyond the bound: %+v", got.Status.Conditions)
	}
	other := newTenantWithServer(t)
	m := other.Message("m", "hello")
	other.Create(m)
	other.AwaitDelivered(m)
	x.Delete(messages[0])
	x.AwaitMessage(last, "taken up", waits)
}
