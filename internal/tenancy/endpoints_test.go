// SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"net/netip"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestEndpoints: which endpoints servers of a namespace may name, and which addresses these may resolve to.
func TestEndpoints(t *testing.T) {
	tests := map[string]struct {
		rules []string
		// endpoint is of a server in the namespace chat.
		endpoint string
		// resolved is what it resolves to.
		resolved string
		// want: it may be named; wantAddress: and connected to.
		want, wantAddress bool
	}{
		"no rules":                         {nil, "db:10600", "10.0.0.1", true, true},
		"its name":                         {[]string{"chat=db:10600"}, "db:10600", "10.0.0.1", true, true},
		"its name, spelled in another way": {[]string{"chat=DB.:10600"}, "dB.:010600", "10.0.0.1", true, true},
		"another name":                     {[]string{"chat=db:10600"}, "db2:10600", "10.0.0.1", false, false},
		"a longer name":                    {[]string{"chat=db:10600"}, "x.db:10600", "10.0.0.1", false, false},
		"another port":                     {[]string{"chat=db:10600"}, "db:443", "10.0.0.1", false, false},
		"any port":                         {[]string{"chat=db"}, "db:443", "10.0.0.1", true, true},
		"any port, as *":                   {[]string{"chat=db:*"}, "db:443", "10.0.0.1", true, true},
		"another namespace's":              {[]string{"ops=db:10600"}, "db:10600", "10.0.0.1", false, false},
		"all namespaces'":                  {[]string{"*=db:10600", "chat=x"}, "db:10600", "10.0.0.1", true, true},
		"below a name":                     {[]string{"chat=*.chat.svc"}, "db.chat.svc:10600", "10.0.0.1", true, true},
		"the name itself":                  {[]string{"chat=*.chat.svc"}, "chat.svc:10600", "10.0.0.1", false, false},
		"only the end of it":               {[]string{"chat=*.chat.svc"}, "db.xchat.svc:10600", "10.0.0.1", false, false},
		"a name before it":                 {[]string{"chat=*.chat.svc"}, "db.chat.svc.evil.example:10600", "10.0.0.1", false, false},
		"an address is no name":            {[]string{"chat=*.1"}, "10.0.0.1:10600", "10.0.0.1", false, false},
		"an address":                       {[]string{"chat=10.0.0.1:10600"}, "10.0.0.1:10600", "10.0.0.1", true, true},
		"another address":                  {[]string{"chat=10.0.0.1:10600"}, "10.0.0.2:10600", "10.0.0.2", false, false},
		"an address as IPv6":               {[]string{"chat=10.0.0.1"}, "[::ffff:10.0.0.1]:10600", "::ffff:10.0.0.1", true, true},
		"an address in a range":            {[]string{"chat=10.0.0.0/8:10600"}, "10.9.9.9:10600", "10.9.9.9", true, true},
		"an address out of the range":      {[]string{"chat=10.0.0.0/8"}, "11.0.0.1:10600", "11.0.0.1", false, false},
		"IPv6":                             {[]string{"chat=[fd00::1]:10600"}, "[fd00:0::1]:10600", "fd00::1", true, true},
		"IPv6 in a range":                  {[]string{"chat=[fd00::/8]:10600"}, "[fd12::9]:10600", "fd12::9", true, true},
		"IPv6 without a port":              {[]string{"chat=fd00::/8"}, "[fd12::9]:10600", "fd12::9", true, true},
		"IPv4 out of a range of IPv6":      {[]string{"chat=::/0"}, "10.0.0.1:10600", "10.0.0.1", false, false},
		"a name in a range":                {[]string{"chat=10.0.0.0/8"}, "db:10600", "10.0.0.1", true, true},
		"a name that leaves the range":     {[]string{"chat=10.0.0.0/8"}, "db:10600", "169.254.169.254", true, false},
		"a name that leaves it, as IPv6":   {[]string{"chat=10.0.0.0/8"}, "db:10600", "::ffff:169.254.169.254", true, false},
		"a name in a range, another port":  {[]string{"chat=10.0.0.0/8:10600"}, "db:6443", "10.0.0.1", false, false},
		"another's name in a range":        {[]string{"chat=10.1.0.0/16", "ops=10.2.0.0/16"}, "db:10600", "10.2.0.1", true, false},
		"all":                              {[]string{"chat=*"}, "10.0.0.1:1", "10.0.0.1", true, true},
		"all, of one port":                 {[]string{"chat=*:10600"}, "db:10601", "10.0.0.1", false, false},
		"nothing":                          {[]string{"chat="}, "db:10600", "10.0.0.1", false, false},
		"several":                          {[]string{"chat=db,10.0.0.0/8", "chat=*.x"}, "y.x:10600", "1.1.1.1", true, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			e, err := ParseEndpoints(tc.rules)
			if err != nil {
				t.Fatal(err)
			}
			const permitted = v1alpha1.Endpoint("127.0.0.1:1")
			if e != nil {
				e.rules["chat"] = append(e.rules["chat"], endpointRule{addresses: netip.MustParsePrefix("127.0.0.1/32"), port: "1"})
			}
			for _, isRouter := range []bool{false, true} {
				s := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "chat"}}
				s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{permitted, v1alpha1.Endpoint(tc.endpoint)}
				s.Spec.Router.Endpoints = []v1alpha1.Endpoint{permitted}
				if isRouter {
					s.Spec.DBProxy.Endpoints, s.Spec.Router.Endpoints = s.Spec.Router.Endpoints, s.Spec.DBProxy.Endpoints
				}
				cause := e.Check(s)
				if (cause == nil) != tc.want {
					t.Errorf("router %v: %+v, want %v", isRouter, cause, tc.want)
				}
				if cause != nil && (cause.Reason != v1alpha1.ReasonEndpointNotPermitted || !strings.Contains(cause.Message, tc.endpoint)) {
					t.Errorf("%+v", cause)
				}
			}
			if got := e.PermitsAddress("chat", tc.endpoint, netip.MustParseAddr(tc.resolved)); got != tc.wantAddress {
				t.Errorf("the address is permitted: %v, want %v", got, tc.wantAddress)
			}
		})
	}
}

func TestParseEndpointsRefuses(t *testing.T) {
	for _, value := range []string{
		"", "chat", "=db", "Chat=db", "a/b=db", "chat=db:0", "chat=db:65536", "chat=db:x", "chat=db:", "chat=a b", "chat=*x",
		"chat=x.*", "chat=*.", "chat=**", "chat=10.0.0.0/33", "chat=::ffff:10.0.0.0/104", "chat=db,,x", "chat=-db", "chat=fe80::1%eth0",
	} {
		if _, err := ParseEndpoints([]string{"ops=db", value}); err == nil {
			t.Errorf("%q is accepted", value)
		}
	}
}
