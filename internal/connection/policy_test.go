// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
)

// permitted is an AddressPolicy of one address.
type permitted netip.Addr

func (p permitted) PermitsAddress(namespace, _ string, address netip.Addr) bool {
	return namespace == "chat" && netip.Addr(p) == address.Unmap()
}

// TestDialer: no connection is made to an address that is not permitted, whatever the name is that resolves to it.
func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []string{"127.0.0.1:" + port, "localhost:" + port} {
		s := &Session{flow: fairqueue.Flow{Tenant: "chat"}, sockets: newSockets(1, 1)}
		changes := 0
		for _, tc := range []struct {
			address     string
			want        bool
			wantChanges int
		}{{"10.0.0.1", false, 1}, {"10.0.0.2", false, 1}, {"127.0.0.1", true, 2}, {"127.0.0.1", true, 2}, {"10.0.0.1", false, 3}} {
			s.config.Policy = permitted(netip.MustParseAddr(tc.address))
			conn, err := s.dialer(endpoint, func() { changes++ })(t.Context(), "tcp", endpoint)
			if err == nil {
				_ = conn.Close()
			}
			if err == nil != tc.want || !tc.want && !errors.Is(err, errNotPermitted) || changes != tc.wantChanges ||
				slices.Contains(s.Refusals().NotPermitted, endpoint) == tc.want {
				t.Errorf("%s, if %s is permitted: %v, %d changes, not permitted: %q", endpoint, tc.address, err, changes, s.Refusals().NotPermitted)
			}
		}
	}
}
