// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestOrderOfCreation creates messages of random names to one group, one after
// the other: several within each second. They are stored in that order, although
// several workers take them up.
func TestOrderOfCreation(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	x.createInOrder(200)
	x.wantOrder(200)
}

// TestOrderAfterStart: an operator that starts learns of all messages at once, in no order.
func TestOrderAfterStart(t *testing.T) {
	x := newTenantWithServer(t)
	x.Deliver("warm", "up", toGroups(x.OnCall))
	x.StopLeader()
	x.createInOrder(200)
	x.StartLeader()
	x.wantOrder(200)
}

// TestOrderOnceUsable: all messages wait for their server, and go on together.
func TestOrderOnceUsable(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.createInOrder(100)
	x.CreateServer()
	x.wantOrder(100)
}

func (x *tenant) createInOrder(n int) {
	x.Helper()
	for i := range n {
		x.Declare(fmt.Sprintf("m-%016x", rand.Uint64()), fmt.Sprintf("number %d", i), toGroups(x.OnCall))
	}
}

// wantOrder waits until n messages of createInOrder are stored, and checks the order of their ids.
func (x *tenant) wantOrder(n int) {
	x.Helper()
	var rows []storedMessage
	x.Timeout = 4 * framework.Timeout // they are stored one after the other
	x.EventuallySeen(func() string { return fmt.Sprintf("the store holds %d messages", len(rows)) }, func() bool {
		rows = slices.DeleteFunc(x.Rows(), func(r storedMessage) bool { return r.Text == "up" })
		return len(rows) >= n
	})
	slices.SortFunc(rows, func(a, b storedMessage) int { return cmp.Compare(a.MsgID, b.MsgID) })
	violations := 0
	for i, row := range rows {
		if row.Text != fmt.Sprintf("number %d", i) {
			violations++
		}
	}
	if len(rows) != n || violations > 0 {
		x.Errorf("%d messages are stored, %d of them out of order", len(rows), violations)
	}
}

// TestRoomOfOneServer: thousands of recipients of one server keep its next message waiting, and no other server's.
func TestRoomOfOneServer(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, framework.Unreachable)
	everybody := make([]uint32, v1alpha1.MaxRecipients)
	for i := range everybody {
		everybody[i] = x.Bot + 10 + uint32(i)
	}
	const full = 10 // a server's share of the operator is about 3,000 recipients
	var messages []*v1alpha1.TeamTalkMessage
	for n := range full + 1 {
		messages = append(messages, x.Declare(fmt.Sprintf("m-%02d", n), "hello", toUsers(everybody...)))
	}
	waits := readyFor(metav1.ConditionFalse, v1alpha1.ReasonServerNotReady)
	for _, m := range messages[:full] {
		x.AwaitMessage(m, "waiting for its server", waits)
	}
	last := messages[full]
	queued := func(m *v1alpha1.TeamTalkMessage) bool {
		ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && strings.Contains(ready.Message, "behind other messages of the server")
	}
	x.AwaitMessage(last, "queued", queued)
	newTenantWithServer(t).Deliver("m", "hello")
	for _, m := range messages[:full] {
		x.Delete(m)
	}
	x.AwaitMessage(last, "taken up", func(m *v1alpha1.TeamTalkMessage) bool { return waits(m) && !queued(m) })
}
