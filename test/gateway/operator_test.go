// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// servingOperator starts a replica of the operator that serves the gateway, too.
func (x *tenant) servingOperator(args ...string) *gateway {
	x.Helper()
	x.Grant(framework.OperatorUser, "teamtalk-gateway")
	args, err := world.OperatorArgs(append([]string{
		"--log-format", "json", "--metrics-secure=false", "--gateway-namespace", x.Namespace,
	}, args...)...)
	x.Must(err)
	return x.serve("--gateway-bind-address", args)
}

// TestOperatorServes has a replica of the operator serve the gateway, first as a standby,
// then as the one that sends, then while it shuts down.
func TestOperatorServes(t *testing.T) {
	x, stuck := newTenant(t), newTenant(t, framework.Unreachable)
	g := x.servingOperator("--gateway-auth", "None")
	stuck.Grant(framework.OperatorUser, "teamtalk-gateway")
	if a := g.post("/query/SendSingleMessage", x.hello("by a standby")); *a.Code != 0 || a.MsgID == 0 || a.Message == "" {
		t.Errorf("a standby: %+v", a)
	}
	if a := g.post("/query/CreateGroup", `{"req_user_id":1,"group_name":"x","user_id_list":[1]}`); *a.Code != 11 {
		t.Errorf("groups: %+v", a)
	}
	x.StopLeader()
	defer x.StartLeader()
	// The standby takes over, and sends what it has recorded itself.
	if a := g.post("/query/SendSingleMessage?wait=8", x.hello("by the leader")); *a.Code != 0 {
		t.Errorf("the leader: %+v", a)
	}
	answered := make(chan answer, 1)
	go func() {
		a, err := g.try("/namespaces/"+stuck.Namespace+"/query/SendSingleMessage?wait=3", stuck.hello("in flight"))
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	x.Eventually("the request is not recorded", func() bool { return len(stuck.Messages()) == 1 })
	x.Must(g.process.Signal(syscall.SIGTERM))
	if a := <-answered; a.Code == nil || *a.Code != 8 || a.Message == "" {
		t.Errorf("in flight: %+v", a)
	}
	select {
	case <-g.process.Ended():
	case <-time.After(framework.Timeout):
		t.Fatal("the operator does not end")
	}
	log := g.log.String()
	if err := g.process.Err(); err != nil || !strings.Contains(log, `"drained"`) {
		t.Errorf("ended with %v:\n%s", err, log)
	}
	x.CheckRows(2)
}

// TestOperatorAsks: the operator's gateway admits the callers that Kubernetes does, with no more
// rights than the operator has.
func TestOperatorAsks(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.servingOperator()
	x.AllowCreate("app")
	for token, want := range map[string]int{"": 401, "nonsense": 401, x.Token("other"): 403, x.Token("app"): 200} {
		if a := g.post("/query/SendSingleMessage?wait=8", x.hello("asked"), "Authorization", "Bearer "+token); a.status != want {
			t.Errorf("answered %+v, want %d", a, want)
		}
	}
	x.CheckRows(1)
}
