// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
)

// AddressPolicy decides which addresses a session may connect to.
type AddressPolicy interface {
	// PermitsAddress reports whether servers of a namespace may connect to an address that the host of an endpoint
	// resolves to.
	PermitsAddress(namespace, endpoint string, address netip.Addr) bool
}

var errNotPermitted = errors.New("--allowed-endpoints does not permit the address")

// dialer returns what connects to an endpoint of the session, or nil for the default. The address is checked right
// before the connection is made to it: a name cannot resolve to another one in between.
func (s *Session) dialer(endpoint string, change func()) link.DialFunc {
	policy, namespace := s.config.Policy, s.config.Namespace
	if policy == nil {
		return nil
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var refused atomic.Bool // of several addresses, any may be permitted
		dialer := net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			resolved, err := netip.ParseAddrPort(address)
			if err != nil || !policy.PermitsAddress(namespace, endpoint, resolved.Addr()) {
				refused.Store(true)
				return errNotPermitted
			}
			return nil
		}}
		conn, err := dialer.DialContext(ctx, network, address)
		if s.setNotPermitted(endpoint, err != nil && refused.Load()) {
			change()
		}
		return conn, err
	}
}

// setNotPermitted notes whether an endpoint was refused when it was last dialled, and reports whether that is new.
func (s *Session) setNotPermitted(endpoint string, refused bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.notPermitted, endpoint)
	switch {
	case refused == (i >= 0):
		return false
	case refused:
		s.notPermitted = append(s.notPermitted, endpoint)
	default:
		s.notPermitted = slices.Delete(s.notPermitted, i, i+1)
	}
	return true
}

// NotPermitted returns the endpoints that resolved to addresses that are not permitted, when they were last dialled.
func (s *Session) NotPermitted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notPermitted)
}
