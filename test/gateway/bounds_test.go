// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
)

// TestDirectBounds: however many callers come at once, no more group requests are in
// flight than the TeamTalkServer allows. By default that keeps db_proxy from the
// deadlock which it has beyond 16.
func TestDirectBounds(t *testing.T) {
	const callers = 48
	for name, bound := range map[string]int32{"the default bound": 0, "a bound too high": callers} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t, func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.MaxGroupInFlight = bound })
			g := x.direct("--wait", "8s")
			for i := range uint32(callers) {
				x.Must(x.TeamTalk.AddGroup(x.OnCall+100+i, "group", x.Bot, x.Alice))
			}
			x.AddFault(devserver.Fault{Kind: devserver.GroupDeadlock, Delay: 50 * time.Millisecond})
			var all sync.WaitGroup
			for i := range uint32(callers) {
				all.Go(func() {
					a, err := g.try("/query/SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"to many"}`, x.Bot, x.OnCall+100+i))
					if err != nil || bound == 0 && *a.Code != 0 {
						t.Errorf("answered %+v, %v", a, err)
					}
				})
			}
			all.Wait()
			if hung := x.TeamTalk.Faults().Fired(devserver.GroupDeadlock) > 0; hung != (bound > 0) {
				t.Errorf("db_proxy has hung: %t", hung)
			}
		})
	}
}
