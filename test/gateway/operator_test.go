package gateway

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// servingOperator starts a replica of the operator that serves the gateway, too.
func (x *tenant) servingOperator(args ...string) *gateway {
	x.t.Helper()
	x.grant(framework.OperatorUser, "teamtalk-gateway")
	args, err := world.OperatorArgs(append([]string{
		"--log-format", "json", "--metrics-secure=false", "--gateway-namespace", x.namespace, "--gateway-bind-address", "127.0.0.1:0",
	}, args...)...)
	x.must(err)
	return x.serving(args)
}

// TestOperatorServes has a replica of the operator serve the gateway, first as a standby,
// then as the one that sends, then while it shuts down.
func TestOperatorServes(t *testing.T) {
	x, stuck := newTenant(t), newTenant(t, unreachable)
	g := x.servingOperator("--gateway-auth", "None")
	stuck.grant(framework.OperatorUser, "teamtalk-gateway")
	if a := g.post("/query/SendSingleMessage", x.hello("by a standby")); *a.Code != 0 || a.MsgID == 0 || a.Message == "" {
		t.Errorf("a standby: %+v", a)
	}
	if a := g.post("/query/CreateGroup", `{"req_user_id":1,"group_name":"x","user_id_list":[1]}`); *a.Code != 11 {
		t.Errorf("groups: %+v", a)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	x.must(world.operator.Stop(ctx))
	defer x.restartOperator()
	// The standby takes over, and sends what it has put on record itself.
	if a := g.post("/query/SendSingleMessage?wait=8", x.hello("by the leader")); *a.Code != 0 {
		t.Errorf("the leader: %+v", a)
	}
	answered := make(chan answer, 1)
	go func() {
		a, err := g.try("/namespaces/"+stuck.namespace+"/query/SendSingleMessage?wait=3", stuck.hello("in flight"))
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	x.eventually("the request is not on record", func() bool { return len(stuck.recorded()) == 1 })
	x.must(g.process.Signal(syscall.SIGTERM))
	if a := <-answered; a.Code == nil || *a.Code != 8 || a.Message == "" {
		t.Errorf("in flight: %+v", a)
	}
	select {
	case <-g.process.Ended():
	case <-time.After(patience):
		t.Fatal("the operator does not end")
	}
	log := g.log.String()
	if err := g.process.Err(); err != nil || !strings.Contains(log, `"drained"`) {
		t.Errorf("ended with %v:\n%s", err, log)
	}
	if rows := x.rows(); len(rows) != 2 {
		t.Errorf("the store holds %+v", rows)
	}
}

// TestOperatorAsks: the operator's gateway lets in whom Kubernetes does, with no more
// rights than the operator has.
func TestOperatorAsks(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.servingOperator()
	x.mayCreate("app")
	for token, want := range map[string]int{"": 401, "nonsense": 401, x.token("other"): 403, x.token("app"): 200} {
		if a := g.post("/query/SendSingleMessage?wait=8", x.hello("asked"), "Authorization", "Bearer "+token); a.status != want {
			t.Errorf("answered %+v, want %d", a, want)
		}
	}
	if rows := x.rows(); len(rows) != 1 {
		t.Errorf("the store holds %+v", rows)
	}
}

// restartOperator has the operator of all tests run again.
func (x *tenant) restartOperator() {
	x.t.Helper()
	var err error
	world.operator, err = world.StartOperator(&world.log)
	x.must(err)
}
