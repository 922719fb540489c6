// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestEndpoints: a TeamTalkServer connects only where the operator's administrator lets its namespace connect, whatever
// its names resolve to. Its messages say so. Others are not affected.
func TestEndpoints(t *testing.T) {
	teamtalk := framework.TeamTalkFor(t)
	victim, attacker := newTenant(t, teamtalk), newTenant(t, teamtalk)
	var connects atomic.Int32
	address := listen(t, &connects)
	_, port, err := net.SplitHostPort(address)
	victim.Must(err)
	startOperator(t,
		"--allowed-endpoints="+victim.Namespace+"="+teamtalk.DBProxyAddr()+","+teamtalk.RouterAddr(),
		"--allowed-endpoints="+attacker.Namespace+"=10.0.0.0/8,db.example")
	for _, x := range []*framework.Tenant{victim, attacker} {
		x.GrantOperator()
		x.Create(x.KeySecret("12345678901234567890123456789012"))
	}
	const reachable = "10.255.255.1:10600" // permitted, and nobody is there
	endpoints := func(dbProxy, router string) func(*v1alpha1.TeamTalkServer) {
		return func(s *v1alpha1.TeamTalkServer) {
			s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{v1alpha1.Endpoint(dbProxy)}
			s.Spec.Router.Endpoints = []v1alpha1.Endpoint{v1alpha1.Endpoint(router)}
		}
	}
	// Under the name localhost, the address is only known when it is connected to.
	for name, tc := range map[string]struct {
		edit func(*v1alpha1.TeamTalkServer)
		want string
	}{
		"db-proxy":           {endpoints(address, reachable), address},
		"router":             {endpoints(reachable, address), address},
		"of-the-victim":      {endpoints(teamtalk.DBProxyAddr(), reachable), teamtalk.DBProxyAddr()},
		"another-spelling":   {endpoints("[::ffff:127.0.0.1]:"+port, reachable), port},
		"resolves-elsewhere": {endpoints("LocalHost:"+port, reachable), "LocalHost:" + port},
	} {
		s := attacker.Server(tc.edit)
		s.Name = name
		attacker.Create(s)
		m := attacker.Declare("through-"+name, "hello", func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.ServerRef = &v1alpha1.ServerReference{Name: name}
		})
		isRefused := func(conditions []metav1.Condition) bool {
			ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
			return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == v1alpha1.ReasonEndpointNotPermitted &&
				strings.Contains(ready.Message, tc.want)
		}
		framework.AwaitObject(attacker, s, "refused", func(s *v1alpha1.TeamTalkServer) bool { return isRefused(s.Status.Conditions) })
		attacker.AwaitMessage(m, "refused", func(m *v1alpha1.TeamTalkMessage) bool { return isRefused(m.Status.Conditions) })
		attacker.AwaitEvent(name, v1alpha1.ReasonEndpointNotPermitted)
	}
	if n := connects.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
	attacker.CheckRows(0)

	victim.Create(victim.Server())
	victim.Deliver("hello", "hello")
	victim.CheckRows(1)
}

// listen counts connections to an address on loopback.
func listen(t testing.TB, connects *atomic.Int32) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connects.Add(1)
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}
