// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestGivenUp: messages that finish because TeamTalk keeps failing tell their known state.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		faults   []devserver.Fault
		edit     messageEdit
		want     string
		wantRows int
	}{
		"nothing is stored at any attempt": {
			faults: []devserver.Fault{{Kind: devserver.IDZero, Command: wire.CommandMsgData}},
			edit:   func(m *v1alpha1.TeamTalkMessage) { m.Spec.RetryLimit = new(int32(1)) },
			want:   v1alpha1.ReasonRetriesExhausted,
		},
		"it is stored, and the store cannot be read until the deadline": {
			faults: []devserver.Fault{
				{Kind: devserver.IDUnknown, Command: wire.CommandMsgData, Store: true, Count: 1},
				{Kind: devserver.EmptyList},
			},
			edit: func(m *v1alpha1.TeamTalkMessage) { m.Spec.ActiveDeadlineSeconds = new(int64(15)) },
			want: v1alpha1.ReasonOutcomeUnknown, wantRows: 1,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			x.Deliver("before", "known") // by which absence can be proved
			for _, fault := range tc.faults {
				x.AddFault(fault)
			}
			m := x.Declare("m", "once", toUsers(x.Alice), tc.edit)
			x.AwaitMessage(m, "finished", (*v1alpha1.TeamTalkMessage).Finished)
			got := x.AwaitMessage(m, tc.want, hasReason(tc.want))
			if r := got.Status.Recipients[0]; r.State != v1alpha1.StateFailed || r.Reason != tc.want {
				t.Errorf("recipient %+v", r)
			}
			x.AwaitEvent("m", tc.want)
			if rows := x.Rows(); len(rows) != 1+tc.wantRows {
				t.Errorf("the store holds %+v", rows)
			}
		})
	}
}
