// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestLabelsOfUnfinished: labels, annotations and a retry do nothing to a message that is in doubt, waits or is retried
// anyway. It is sent as if they were not there. TestFinishedIsLeftAlone is about finished ones.
func TestLabelsOfUnfinished(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		faults []devserver.Fault
		shows  func(*v1alpha1.TeamTalkMessage) bool
		// attempts is how often it is sent; 0: as often as the faults have it.
		attempts int32
		reason   string
	}{
		"in doubt": {
			faults: []devserver.Fault{
				{Kind: devserver.CloseAfterStore, Command: wire.CommandMsgData, Count: 1}, {Kind: devserver.EmptyList, Skip: 1},
			},
			shows: anyInDoubt, attempts: 1, reason: v1alpha1.ReasonAdopted,
		},
		"waiting": {
			faults: []devserver.Fault{{Kind: devserver.Refuse, Server: devserver.InDBProxy}},
			shows:  hasReason(v1alpha1.ReasonServerNotReady), attempts: 1,
		},
		"retried": {
			faults: []devserver.Fault{{Kind: devserver.IDZero, Command: wire.CommandMsgData}},
			shows:  hasReason(v1alpha1.ReasonRetryScheduled),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			for _, f := range tc.faults {
				x.AddFault(f)
			}
			m := x.Declare("m", "once")
			m = x.AwaitMessage(m, name, tc.shows)
			for n := range 3 {
				x.Patch(m, fmt.Sprintf(`{"metadata":{"labels":{"edit":"%d"},"annotations":{"note":"%[1]d"}}}`, n))
			}
			x.Patch(m, retryPatch)
			x.AwaitMessage(m, name, tc.shows)
			x.TeamTalk.Faults().Clear()
			got := x.AwaitMessage(m, "delivered", func(m *v1alpha1.TeamTalkMessage) bool {
				return m.Finished() && !m.RetryAsked()
			})
			x.checkDelivered(got)
			r := got.Status.Recipients[0]
			if r.Reason != tc.reason || tc.attempts != 0 && r.Attempts != tc.attempts {
				t.Errorf("recipient %+v, want reason %q and %d attempts", r, tc.reason, tc.attempts)
			}
			x.checkOnce("once")
			x.CheckRows(1)
		})
	}
}

// TestRetryOfUnknown: a retry does not send to recipients whose outcome is unknown.
func TestRetryOfUnknown(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.AddFault(devserver.Fault{Kind: devserver.CloseAfterStore, Command: wire.CommandMsgData, Count: 1})
	x.AddFault(devserver.Fault{Kind: devserver.EmptyList, Skip: 1})
	m := x.Declare("m", "once")
	m = x.AwaitMessage(m, "in doubt", anyInDoubt)
	x.Patch(m, `{"spec":{"activeDeadlineSeconds":1}}`)
	m = x.AwaitMessage(m, "given up", finishedFor(v1alpha1.ReasonOutcomeUnknown))
	x.TeamTalk.Faults().Clear()
	x.Patch(m, retryPatch)
	got := x.AwaitMessage(m, "handled", func(m *v1alpha1.TeamTalkMessage) bool { return m.Finished() && !m.RetryAsked() })
	if !finishedFor(v1alpha1.ReasonOutcomeUnknown)(got) || got.Status.Recipients[0].Attempts != 1 {
		t.Errorf("retried: %+v", got.Status)
	}
	x.CheckRows(1)
}
