// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestDirectAllowedEndpoints: a gateway in direct mode connects to nothing that --allowed-endpoints does not permit, and
// the answer says what to do. A name is judged by the address that it resolves to.
func TestDirectAllowedEndpoints(t *testing.T) {
	t.Parallel()
	permitted, other, named := newTenant(t), newTenant(t), newTenant(t, func(s *v1alpha1.TeamTalkServer) {
		_, port, err := net.SplitHostPort(string(s.Spec.DBProxy.Endpoints[0]))
		if err != nil {
			t.Fatal(err)
		}
		s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{v1alpha1.Endpoint("localhost:" + port)}
	})
	dbProxy := world.TeamTalk.DBProxyAddr()
	g := permitted.direct("--wait", "1s",
		"--allowed-endpoints="+permitted.Namespace+"="+dbProxy+","+world.TeamTalk.RouterAddr(),
		"--allowed-endpoints="+other.Namespace+"="+world.TeamTalk.RouterAddr(),
		"--allowed-endpoints="+named.Namespace+"=10.0.0.0/8,"+world.TeamTalk.RouterAddr())
	for _, x := range []*tenant{other, named} {
		x.Grant("direct-"+permitted.Namespace, "teamtalk-operator-secrets")
	}
	send := func(to *tenant) answer {
		return g.post("/namespaces/"+to.Namespace+"/query/SendSingleMessage", to.hello("hello"))
	}
	refusal := func(x *tenant, endpoint string) string {
		return fmt.Sprintf("TeamTalkServers of namespace %q are not permitted to connect to %s: "+
			"ask the administrator to add it to --allowed-endpoints", x.Namespace, endpoint)
	}
	if a := send(other); *a.Code != 10 || a.Detail != refusal(other, dbProxy) {
		t.Errorf("an endpoint that is not permitted: %+v", a)
	}
	_, port, _ := net.SplitHostPort(dbProxy)
	named.Eventually("a name that resolves to an address that is not permitted is not refused", func() bool {
		a := send(named)
		if *a.Code != 10 {
			t.Errorf("a name that resolves elsewhere: %+v", a)
		}
		return a.Detail == refusal(named, "localhost:"+port)
	})
	if a := g.post("/namespaces/"+other.Namespace+"/query/CreateGroup", fmt.Sprintf(
		`{"req_user_id":%d,"group_name":"g","user_id_list":[%d]}`, other.Bot, other.Alice)); *a.Code != 11 ||
		a.Detail != refusal(other, dbProxy) {
		t.Errorf("a group: %+v", a)
	}
	permitted.Eventually("what is permitted is not delivered", func() bool { return *send(permitted).Code == 0 })
	if len(other.Rows()) != 0 || len(named.Rows()) != 0 || len(permitted.Rows()) != 1 {
		t.Errorf("the store holds %+v, %+v and %+v", other.Rows(), named.Rows(), permitted.Rows())
	}
}
