// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestDeleted: another object of the same name is another message.
func TestDeleted(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	m := x.Declare("m", "never sent")
	x.AwaitMessage(m, "waiting", func(m *v1alpha1.TeamTalkMessage) bool { return len(m.Status.Conditions) > 0 })
	x.Delete(m)
	x.awaitDeletionsSeen()
	x.CreateServer()
	x.Deliver("m", "sent")
	if rows := x.Rows(); len(rows) != 1 || rows[0].Text != "sent" {
		t.Errorf("the store holds %+v", rows)
	}
}

// awaitDeletionsSeen waits until the operator has heard of all unfinished messages that were deleted before.
func (x *tenant) awaitDeletionsSeen() {
	x.Helper()
	// One watch reports these and an unfinished message that is created after them.
	probe := x.Declare("probe", "suspended", suspended)
	x.AwaitMessage(probe, "suspended", readyFor(metav1.ConditionTrue, v1alpha1.ReasonSuspended))
}

// deleteAtOnce deletes a message, and checks that nothing keeps it.
func (x *tenant) deleteAtOnce(m *v1alpha1.TeamTalkMessage) {
	x.Helper()
	x.Delete(m)
	if err := x.Cluster.Admin.Get(x.Context(), client.ObjectKeyFromObject(m), m); !apierrors.IsNotFound(err) {
		x.Errorf("%s is still there: %v, finalizers %q", m.Name, err, m.Finalizers)
	}
}

// TestDeletedWhileUnreachable: a deletion waits for no TeamTalk. Deleted messages are not sent when TeamTalk is back. A
// message with the key of a deleted one finds the stored row.
func TestDeletedWhileUnreachable(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.AddFault(devserver.Fault{Kind: devserver.NoAnswer, Command: wire.CommandMsgData, Count: 1})
	doubt := x.Declare("doubt", "in doubt", withKey("v1"), toUsers(x.Bob))
	x.AwaitRows(1)
	x.AddFault(devserver.Fault{Kind: devserver.Refuse, Server: devserver.InDBProxy})
	waiting := x.Declare("waiting", "not sent")
	x.AwaitMessage(waiting, "waiting", hasReason(v1alpha1.ReasonServerNotReady))
	x.AwaitMessage(doubt, "in doubt", func(m *v1alpha1.TeamTalkMessage) bool {
		return len(m.Status.Recipients) == 1 && m.Status.Recipients[0].State == v1alpha1.StateInDoubt
	})
	x.deleteAtOnce(waiting)
	x.deleteAtOnce(doubt)
	x.awaitDeletionsSeen()

	again := x.Declare("doubt", "in doubt", withKey("v1"), toUsers(x.Bob))
	later := x.Declare("later", "later") // in the conversation of deleted messages
	x.TeamTalk.Faults().Clear()
	if r := x.AwaitDelivered(again).Status.Recipients[0]; r.Reason != v1alpha1.ReasonAdopted || r.Attempts != 0 {
		t.Errorf("recipient %+v, want it adopted", r)
	}
	x.AwaitDelivered(later)
	x.checkRowTexts(map[string]int{"in doubt": 1, "later": 1})
}

// TestDeletedInFlight deletes a message while db_proxy has it. The log says what became of it, and the message of
// another resource with its key is stored once with it.
func TestDeletedInFlight(t *testing.T) {
	t.Parallel()
	const sends = wire.CommandMsgData
	for name, tc := range map[string]struct {
		fault devserver.Fault
		// rows are those of the deleted message, and logged matches what the log says of it.
		rows   int
		logged string
	}{
		"answered": {
			devserver.Fault{Kind: devserver.Late, Command: sends, Delay: 8 * time.Second}, 1, `"stored": 1, "inDoubt": 0`,
		},
		// It is mostly found in the store before the answer is given up.
		"stored, not answered": {
			devserver.Fault{Kind: devserver.NoAnswer, Command: sends}, 1, `("stored": 1, "inDoubt": 0|"stored": 0, "inDoubt": 1)`,
		},
		"not stored, not answered": {devserver.Fault{Kind: devserver.Drop, Command: sends}, 0, `"stored": 0, "inDoubt": 1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			fault := tc.fault
			fault.Count = 1
			x.AddFault(fault)
			m := x.Declare("m", "v1 is out", withKey("v1"))
			x.Eventually("nothing is in flight", func() bool {
				return x.TeamTalk.Faults().Fired(fault.Kind) == 1 && len(x.Rows()) == tc.rows
			})
			x.deleteAtOnce(m)
			line := regexp.MustCompile(fmt.Sprintf(
				`message deleted while it was sent\t\{"message": "%s/m", "uid": %q, "server": "%s/default", "recipients": 1, %s\}`,
				x.Namespace, m.UID, x.Namespace, tc.logged))
			x.Eventually("the log does not have "+line.String(), func() bool { return line.MatchString(world.Log.String()) })
			x.CheckRows(tc.rows)
			// Of one that its status shows as delivered, the log has said so.
			delivered := x.Deliver("m", "v1 is out", withKey("v1"))
			x.CheckRows(1)
			x.deleteAtOnce(delivered.DeepCopy())
			x.Deliver("canary", "canary")
			if strings.Count(world.Log.String(), string(delivered.UID)) == 0 {
				t.Errorf("the log has nothing about %s", delivered.UID)
			}
			if again := regexp.MustCompile("message deleted while it was sent.*" + string(delivered.UID)); again.MatchString(world.Log.String()) {
				t.Errorf("the log says that a delivered message was deleted while it was sent")
			}
		})
	}
}
