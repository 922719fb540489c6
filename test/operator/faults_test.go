// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestFaults lets TeamTalk do what its servers do on bad days. Each message is in
// the store exactly once.
func TestFaults(t *testing.T) {
	tests := map[string]struct {
		fault devserver.Fault
		// wantAttempts is how often it was sent; wantReason how it was delivered.
		wantAttempts int32
		wantReason   string
	}{
		"the answer is lost": {
			fault:        devserver.Fault{Kind: devserver.NoAnswer, Command: wire.CommandMsgData},
			wantAttempts: 1, wantReason: v1alpha1.ReasonAdopted,
		},
		"the connection ends after storing": {
			fault:        devserver.Fault{Kind: devserver.CloseAfterStore, Command: wire.CommandMsgData},
			wantAttempts: 1, wantReason: v1alpha1.ReasonAdopted,
		},
		"the connection ends before storing": {
			fault:        devserver.Fault{Kind: devserver.CloseBeforeStore, Command: wire.CommandMsgData},
			wantAttempts: 2,
		},
		"the counter fails and nothing is stored": {
			fault:        devserver.Fault{Kind: devserver.IDUnknown, Command: wire.CommandMsgData},
			wantAttempts: 2,
		},
		"the counter fails and it is stored": {
			fault:        devserver.Fault{Kind: devserver.IDUnknown, Command: wire.CommandMsgData, Store: true},
			wantAttempts: 1, wantReason: v1alpha1.ReasonAdopted,
		},
		"success without storing": {
			fault:        devserver.Fault{Kind: devserver.FalseSuccess, Command: wire.CommandMsgData},
			wantAttempts: 2,
		},
		"answered with id 0": {
			fault:        devserver.Fault{Kind: devserver.IDZero, Command: wire.CommandMsgData},
			wantAttempts: 2,
		},
		"the read-back comes back empty": {
			fault:        devserver.Fault{Kind: devserver.EmptyList, Command: wire.CommandMsgByIDReq},
			wantAttempts: 1,
		},
		"the directory comes back empty": {
			fault:        devserver.Fault{Kind: devserver.EmptyList, Command: wire.CommandUsersInfoReq},
			wantAttempts: 1,
		},
		"answered twice": {
			fault:        devserver.Fault{Kind: devserver.Repeat, Command: wire.CommandMsgData},
			wantAttempts: 1,
		},
		"db_proxy shuts down": {
			fault:        devserver.Fault{Kind: devserver.StopReceiving, Command: wire.CommandMsgData},
			wantAttempts: 1,
		},
	}
	for name, tc := range tests {
		for _, to := range []string{"user", "group"} {
			t.Run(fmt.Sprintf("%s (%s)", name, to), func(t *testing.T) {
				t.Parallel()
				x := newTenantWithTeamTalk(t)
				fault := tc.fault
				fault.Count = 1
				x.AddFault(fault)
				m := x.Message("m", "once")
				if to == "group" {
					toGroups(x.OnCall)(m)
				}
				x.Create(m)
				got := x.AwaitDelivered(m)
				if n := x.TeamTalk.Faults().Fired(fault.Kind); n != 1 {
					t.Fatalf("the fault has fired %d times, want 1", n)
				}
				rows := x.Rows()
				if len(rows) != 1 || rows[0].Text != "once" || rows[0].Routed == 0 {
					t.Errorf("the store holds %+v", rows)
				}
				if r := got.Status.Recipients[0]; r.Attempts != tc.wantAttempts || r.Reason != tc.wantReason || r.State != v1alpha1.StateRouted {
					t.Errorf("recipient %+v, want %d attempts and reason %q", r, tc.wantAttempts, tc.wantReason)
				}
				x.checkDelivered(got)
				if tc.wantReason != "" {
					x.AwaitEvent(m.Name, tc.wantReason)
				}
			})
		}
	}
}
