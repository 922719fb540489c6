// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// direct starts a gateway that sends by itself and may read the keys of the tenant's namespace.
func (x *tenant) direct(args ...string) *gateway {
	x.Helper()
	user := x.directUser()
	x.Grant(user, "teamtalk-operator-secrets")
	return x.gatewayAs(user, append([]string{"--mode", "direct", "--auth", "None"}, args...)...)
}

// directUser returns a user with the rights of a gateway in direct mode: it may read no Secret.
func (x *tenant) directUser() string {
	x.Helper()
	user := "direct-" + x.Namespace
	x.grantCluster(user, "teamtalk-gateway-direct")
	return user
}

// TestDirectRights: a gateway in direct mode reads keys where it is bound only, and as soon as it is.
func TestDirectRights(t *testing.T) {
	t.Parallel()
	x, other := newTenant(t), newTenant(t)
	user := x.directUser()
	g := x.gatewayAs(user, "--mode", "direct", "--auth", "None")
	send := func(to *tenant) answer {
		return g.post("/namespaces/"+to.Namespace+"/query/SendSingleMessage", to.hello("hello"))
	}
	if a := send(x); *a.Code != 13 || !strings.Contains(a.Detail, "may not read it") {
		t.Errorf("without the right: %+v", a)
	}
	x.Grant(user, "teamtalk-operator-secrets")
	x.Eventually("the right makes no difference", func() bool { return *send(x).Code == 0 })
	if a := send(other); *a.Code != 13 {
		t.Errorf("elsewhere: %+v", a)
	}
	if len(x.Rows()) != 1 || len(other.Rows()) != 0 {
		t.Errorf("the store holds %+v and %+v", x.Rows(), other.Rows())
	}
}

// TestDirect sends through each endpoint: the same answers, and no record.
func TestDirect(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.direct()
	t.Run("sends", func(t *testing.T) {
		x.checkSends(t, g, func(t *testing.T, a answer) {
			t.Helper()
			if a.Message != "" {
				t.Errorf("a record: %+v", a)
			}
		})
	})
	if n := len(x.Messages()); n != 0 {
		t.Errorf("%d messages are recorded", n)
	}
	if a := g.post("/query/SendSingleMessage?wait=0", x.hello("later")); *a.Code != 1 {
		t.Errorf("without waiting: %+v", a)
	}
}

// TestDirectKey: a message with a key is looked up in the store, also by another process.
func TestDirectKey(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.direct("--wait", "8s")
	x.awaitKeyed(g, x.hello("first"), "first")
	x.checkKey(t, g)
}

// awaitKeyed repeats a request with a key until it is answered with success. Before, an earlier gateway may have sent it.
func (x *tenant) awaitKeyed(g *gateway, body, key string) {
	x.Helper()
	x.Eventually("the request is not answered with success", func() bool {
		a := g.post("/query/SendSingleMessage", body, "Idempotency-Key", key)
		if *a.Code != 0 && *a.Code != 8 {
			x.Errorf("answered %+v", a)
		}
		return *a.Code == 0
	})
}

// TestDirectRestart: a gateway is killed, and db_proxy executes its request long after. The next one does not send it
// again.
func TestDirectRestart(t *testing.T) {
	t.Parallel()
	teamtalk := framework.TeamTalkFor(t)
	proxy, err := faultproxy.Start(t.Context(), teamtalk.DBProxyAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	x := newTenantIn(t, teamtalk, func(s *v1alpha1.TeamTalkServer) {
		s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{v1alpha1.Endpoint(proxy.Addr())}
	})
	late := proxy.Add(faultproxy.Rule{
		Commands: []wire.Command{wire.CommandMsgData}, Count: 1, Do: faultproxy.ExecuteLate(delivery.PeerPatience / 2),
	})
	user := x.directUser()
	x.Grant(user, "teamtalk-operator-secrets")
	start := func() *gateway { return x.gatewayAs(user, "--mode", "direct", "--auth", "None") }
	first, body := start(), x.hello("once")
	// It is killed when its connection has ended: later, it would prove that nothing was stored within settleSeconds.
	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
	var posting sync.WaitGroup
	defer posting.Wait()
	defer cancel()
	posting.Go(func() {
		for late.Fired() == 0 && ctx.Err() == nil {
			_, _ = first.try("/query/SendSingleMessage", body, "Idempotency-Key", "k") // it is killed meanwhile
		}
	})
	x.Must(late.Await(ctx, 1))
	first.process.Kill()
	x.awaitKeyed(start(), body, "k")
	x.AwaitRows(1)
	x.Must(proxy.Idle(t.Context()))
	x.CheckRows(1)
}

func TestDirectMistakes(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	table := x.mistakes()
	change := func(by, group uint32, kind int, members ...uint32) string {
		list := fmt.Sprint(members[0])
		for _, m := range members[1:] {
			list += fmt.Sprintf(",%d", m)
		}
		return fmt.Sprintf(`{"req_user_id":%d,"group_id":%d,"modify_type":%d,"user_id_list":[%s]}`, by, group, kind, list)
	}
	table["add to an unknown group"] = mistake{endpoint: "ChangeMembers", body: change(x.Bot, 1_999_999, 1, x.Alice), want: 12, detail: "does not exist"}
	table["add an unknown user"] = mistake{endpoint: "ChangeMembers", body: change(x.Bot, x.Closed, 1, 1_999_999), want: 12, detail: "does not exist"}
	table["change as somebody else"] = mistake{endpoint: "ChangeMembers", body: change(x.Bob, x.OnCall, 2, x.Alice), want: 12, detail: "may speak as"}
	table["a group of an unknown user"] = mistake{endpoint: "CreateGroup", body: fmt.Sprintf(`{"req_user_id":%d,"group_name":"x","group_type":1,"user_id_list":[1999999]}`, x.Bot), want: 11, detail: "does not exist"}
	table["a group as somebody else"] = mistake{endpoint: "CreateGroup", body: fmt.Sprintf(`{"req_user_id":%d,"group_name":"x","group_type":1,"user_id_list":[%d]}`, x.Bob, x.Bob), want: 11, detail: "may speak as"}
	x.checkMistakes(t, x.direct(), table)
}

func TestDirectBadLuck(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			x.checkBadLuck(t, x.direct(), fault)
		})
	}
}

// TestDirectStopsSending: after an answer that a message is not sent, it is not sent later.
func TestDirectStopsSending(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	g := x.direct("--wait", "1s")
	x.AddFault(devserver.Fault{Kind: devserver.IDZero, Server: devserver.InDBProxy})
	if a := g.post("/query/SendSingleMessage", x.hello("never")); *a.Code != 10 {
		t.Fatalf("answered %+v", a)
	}
	x.TeamTalk.Faults().Clear()
	// Behind it in the same conversation: were it still tried, it would come before.
	for n := range 3 {
		if a := g.post("/query/SendSingleMessage?wait=8", x.hello(fmt.Sprint(n))); *a.Code != 0 {
			t.Fatalf("answered %+v", a)
		}
	}
	for _, row := range x.Rows() {
		if row.Text == "never" {
			t.Errorf("sent after all: %+v", row)
		}
	}
}

// TestGroups: a group or change that is answered with success is so, and was announced once.
func TestGroups(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	g := x.direct()
	router := x.RouterPeer()
	a := g.post("/query/CreateGroup", fmt.Sprintf(
		`{"app_key":"any","req_user_id":"%d","group_name":"New ones","group_type":1,"group_avatar":"http://example.com/a.png","user_id_list":["%d",%d]}`, x.Bot, x.Bot, x.Alice))
	if *a.Code != 0 || a.GroupID == 0 || a.Detail != "" {
		t.Fatalf("answered %+v", a)
	}
	group := a.GroupID
	x.Eventually("the creation is not announced", func() bool { return len(router.Changes(group)) == 1 })
	to := func(text string) answer {
		return g.post("/query/SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":%q}`, x.Bot, group, text))
	}
	if a := to("hello"); *a.Code != 0 {
		t.Errorf("to the new group: %+v", a)
	}
	change := func(kind int, id uint32) answer {
		return g.post("/query/ChangeMembers", fmt.Sprintf(`{"req_user_id":%d,"group_id":%d,"modify_type":"%d","user_id_list":[%d]}`, x.Bot, group, kind, id))
	}
	for n, step := range []struct {
		kind    int
		id      uint32
		current []uint32
		changes bool
	}{
		{1, x.Bob, []uint32{x.Bot, x.Alice, x.Bob}, true},
		{1, x.Bob, []uint32{x.Bot, x.Alice, x.Bob}, false},
		{2, x.Alice, []uint32{x.Bot, x.Bob}, true},
		{2, x.Alice, []uint32{x.Bot, x.Bob}, false},
	} {
		before := len(router.Changes(group))
		a := change(step.kind, step.id)
		if *a.Code != 0 || a.GroupID != group || (a.Detail == "") != step.changes {
			t.Fatalf("step %d: answered %+v", n, a)
		}
		if !step.changes {
			continue
		}
		x.Eventually("a change is not announced", func() bool { return len(router.Changes(group)) == before+1 })
		c := router.Changes(group)[before]
		current := slices.Sorted(slices.Values(c.GetCurUserIdList()))
		if !slices.Equal(current, step.current) || !slices.Equal(c.GetChgUserIdList(), []uint32{step.id}) || int(c.GetChangeType()) != step.kind {
			t.Errorf("step %d: announced %v", n, c)
		}
	}
	if n := len(router.Changes(group)); n != 3 {
		t.Errorf("%d announcements, want 3", n)
	}

	x.AddFault(devserver.Fault{Kind: devserver.Drop, Server: devserver.InDBProxy, Command: wire.CommandGroupChangeReq})
	if a := change(1, x.Alice); *a.Code != 12 {
		t.Errorf("without an answer: %+v", a)
	}
	x.AddFault(devserver.Fault{Kind: devserver.Drop, Server: devserver.InDBProxy, Command: wire.CommandGroupCreateReq})
	if a := g.post("/query/CreateGroup", fmt.Sprintf(`{"req_user_id":%d,"group_name":"x","user_id_list":[%d]}`, x.Bot, x.Alice)); *a.Code != 11 || a.GroupID != 0 {
		t.Errorf("without an answer: %+v", a)
	}
}

// TestAdoptedGroups: groups of other creators are changed as http_msg_server changes them, where the server permits it.
func TestAdoptedGroups(t *testing.T) {
	t.Parallel()
	listed := func(s *v1alpha1.TeamTalkServer) { s.Spec.Groups.Adoptable = []v1alpha1.GroupID{1001, 1002} }
	every := func(s *v1alpha1.TeamTalkServer) { s.Spec.Groups.AdoptAny = ptr.To(true) }
	for name, tc := range map[string]struct {
		edit    func(*v1alpha1.TeamTalkServer)
		creator func(*tenant) uint32
		group   uint32
		kind    wire.GroupType
		modify  int
		want    int
	}{
		"of the system":                           {group: 1001, creator: ofSystem, modify: 1, want: 12},
		"of the system, listed":                   {edit: listed, group: 1001, creator: ofSystem, modify: 1},
		"of the system, listed, removed":          {edit: listed, group: 1001, creator: ofSystem, modify: 2},
		"of the system, any":                      {edit: every, group: 1001, creator: ofSystem, modify: 1},
		"of the system, another is listed":        {edit: listed, group: 1003, creator: ofSystem, modify: 1, want: 12},
		"of somebody else":                        {group: 1002, creator: ofAlice, modify: 2, want: 12},
		"of somebody else, listed":                {edit: listed, group: 1002, creator: ofAlice, modify: 2},
		"of somebody else, temporary":             {group: 1002, creator: ofAlice, kind: wire.GroupType_GROUP_TYPE_TMP, modify: 1},
		"of somebody else, temporary, removed":    {group: 1002, creator: ofAlice, kind: wire.GroupType_GROUP_TYPE_TMP, modify: 2, want: 12},
		"its own":                                 {group: 1001, creator: ofBot, modify: 2},
		"of the system, where there is no change": {group: 1001, creator: ofSystem, modify: 3, want: 0},
	} {
		// One after another: a gateway has 2.5 s for a change of a group.
		t.Run(name, func(t *testing.T) {
			x := newTenantWithTeamTalk(t, func(s *v1alpha1.TeamTalkServer) {
				if tc.edit != nil {
					tc.edit(s)
				}
			})
			x.Must(x.TeamTalk.PutGroup(devserver.Group{
				ID: tc.group, Name: "legacy", Creator: tc.creator(x), Type: tc.kind, Members: []uint32{x.Bot, x.Bob},
			}))
			id, member, modify := int64(tc.group), x.Alice, tc.modify
			switch modify {
			case 2:
				member = x.Bob
			case 3:
				member, modify = x.Bob, 1
			}
			router, g := x.RouterPeer(), x.direct()
			change := func(modify int, member uint32) answer {
				return g.post("/query/ChangeMembers", fmt.Sprintf(
					`{"req_user_id":%d,"group_id":%d,"modify_type":%d,"user_id_list":[%d]}`, x.Bot, id, modify, member))
			}
			x.Eventually("the gateway is not connected", func() bool {
				return change(1, x.Bot).status != http.StatusServiceUnavailable // it changes nothing
			})
			a := change(modify, member)
			if *a.Code != tc.want {
				t.Fatalf("answered %+v, want %d", a, tc.want)
			}
			if tc.want == 0 && tc.modify < 3 {
				x.Eventually("the change is not announced", func() bool { return len(router.Changes(id)) == 1 })
			}
			if hint := fmt.Sprintf("add %d to spec.groups.adoptable of the TeamTalkServer %s/default", id, x.Namespace); tc.want != 0 &&
				(!strings.Contains(a.Detail, fmt.Sprintf("(user %d)", tc.creator(x))) && !strings.Contains(a.Detail, fmt.Sprintf("belongs to user %d,", tc.creator(x))) || !strings.Contains(a.Detail, hint)) {
				t.Errorf("it says %q", a.Detail)
			}
		})
	}
}

func ofSystem(*tenant) uint32  { return 0 }
func ofAlice(x *tenant) uint32 { return x.Alice }
func ofBot(x *tenant) uint32   { return x.Bot }

// TestDirectBounds: however many callers come at once, no more group requests are in flight than the gateway and the
// TeamTalkServer allow. By default that keeps db_proxy from the deadlock which it has beyond 16.
func TestDirectBounds(t *testing.T) {
	const callers = 48
	for name, tc := range map[string]struct {
		server  int32 // 0: the default
		gateway []string
		hangs   bool
	}{
		"the default bounds":        {},
		"the server's is too high":  {server: callers},
		"the gateway's is too high": {gateway: []string{"--db-proxy-max-group-in-flight=48"}},
		"both are too high":         {callers, []string{"--db-proxy-max-group-in-flight=48"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t, func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.MaxGroupInFlight = tc.server })
			g := x.direct(append(tc.gateway, "--wait", "8s")...)
			for i := range uint32(callers) {
				x.Must(x.TeamTalk.AddGroup(x.OnCall+100+i, "group", x.Bot, x.Alice))
			}
			x.AddFault(devserver.Fault{Kind: devserver.GroupDeadlock, Delay: 50 * time.Millisecond})
			var all sync.WaitGroup
			for i := range uint32(callers) {
				all.Go(func() {
					a, err := g.try("/query/SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"to many"}`, x.Bot, x.OnCall+100+i))
					if err != nil || !tc.hangs && *a.Code != 0 {
						t.Errorf("answered %+v, %v", a, err)
					}
				})
			}
			all.Wait()
			if hung := x.TeamTalk.Faults().Fired(devserver.GroupDeadlock) > 0; hung != tc.hangs {
				t.Errorf("db_proxy has hung: %t", hung)
			}
		})
	}
}
