// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// bulkMessages, to bulkUsers each, are what a tenant with much to send has.
const bulkMessages, bulkUsers = 10, v1alpha1.MaxRecipients

// firstBulkUser is the first id of bulkUsers.
const firstBulkUser = 5_000_000

// startBulkTeamTalk starts a TeamTalk that has the recipients of bulk messages. Its latency is that of a network.
func startBulkTeamTalk(t *testing.T) *devserver.Server {
	t.Helper()
	teamtalk, err := framework.StartTeamTalk(t.Context(), func(o *devserver.Options) {
		for id := range bulkUsers {
			o.Seed.Users = append(o.Seed.Users, framework.User(uint32(firstBulkUser+id)))
		}
		o.Latency = 20 * time.Millisecond
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	return teamtalk
}

// declareBulk creates the messages of a tenant that has much to send.
func declareBulk(x *framework.Tenant) {
	x.Helper()
	for n := range bulkMessages {
		x.Declare(fmt.Sprint("bulk-", n), fmt.Sprint("bulk ", n), func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.To.Users = nil
			for id := range bulkUsers {
				m.Spec.To.Users = append(m.Spec.To.Users, v1alpha1.UserID(firstBulkUser+id))
			}
		})
	}
}

// awaitReasons waits until each message of the tenants is finished, or says what it waits for.
func awaitReasons(tenants []*framework.Tenant) {
	for _, x := range tenants {
		x.Helper()
		x.Timeout = 3 * framework.Timeout // all of them are written, by one operator
		// One by one: to list all of them, with a thousand recipients each, keeps the API server busy.
		for n := range bulkMessages {
			x.AwaitMessage(x.Message(fmt.Sprint("bulk-", n), ""), "with what it waits for", func(m *v1alpha1.TeamTalkMessage) bool {
				ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
				return ready != nil && (m.Finished() || ready.Reason == v1alpha1.ReasonServerNotReady ||
					ready.Reason == v1alpha1.ReasonNoAnswer)
			})
		}
	}
}

// deliverMeanwhile has another tenant's messages delivered.
func deliverMeanwhile(t *testing.T) {
	t.Helper()
	x := newTenant(t, world.TeamTalk)
	x.GrantOperator()
	x.CreateServer()
	const n = 10
	for i := range n {
		x.Deliver(fmt.Sprint("m", i), fmt.Sprint("hello ", i))
	}
	x.CheckRows(n)
}

// TestServersAway: tenants have much to send, and no db_proxy. The process does not hold all of it, each message says
// what it waits for, and another tenant's messages are delivered.
func TestServersAway(t *testing.T) {
	operator := startOperator(t)
	var tenants []*framework.Tenant
	for range 8 {
		x := newTenant(t, world.TeamTalk)
		x.GrantOperator()
		x.CreateServer(framework.Unreachable)
		declareBulk(x)
		tenants = append(tenants, x)
	}
	awaitReasons(tenants)
	deliverMeanwhile(t)
	checkMemory(t, operator)
}

// TestServersGoAway is TestServersAway with db_proxies that go away while messages are in flight. When they are back,
// nothing is sent twice.
func TestServersGoAway(t *testing.T) {
	operator := startOperator(t)
	teamtalk := startBulkTeamTalk(t)
	var tenants []*framework.Tenant
	var proxies []*faultproxy.Proxy
	for range 3 {
		proxy, err := faultproxy.Start(t.Context(), teamtalk.DBProxyAddr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(proxy.Stop)
		x := newTenant(t, teamtalk)
		x.GrantOperator()
		x.CreateServer(func(s *v1alpha1.TeamTalkServer) {
			s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{v1alpha1.Endpoint(proxy.Addr())}
		})
		declareBulk(x)
		tenants, proxies = append(tenants, x), append(proxies, proxy)
	}
	for i, x := range tenants {
		x.Eventually("nothing is sent", func() bool { return len(x.Rows()) > 0 })
		proxies[i].SetGone(true)
	}
	awaitReasons(tenants)
	deliverMeanwhile(t)
	checkMemory(t, operator)
	proxies[0].SetGone(false)
	x := tenants[0]
	x.AwaitDelivered(x.Message("bulk-0", ""))
	times := map[string]int{}
	for _, row := range x.Rows() {
		times[fmt.Sprintf("%s to %d", row.Text, row.To)]++
	}
	for message, n := range times {
		if n != 1 {
			t.Errorf("%q was stored %d times", message, n)
		}
	}
}
