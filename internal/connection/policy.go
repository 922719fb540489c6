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

// dialer returns the dialer for the endpoints of the session.
func (s *Session) dialer(endpoint string, change func()) link.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := s.sockets.dial(ctx, s.flow, func(ctx context.Context) (net.Conn, error) {
			return s.dialPermitted(ctx, endpoint, network, address)
		})
		if s.setRefused(endpoint, err) {
			change()
		}
		return conn, err
	}
}

// dialPermitted checks the resolved address right before it connects, so that the name cannot resolve to another
// address in between.
func (s *Session) dialPermitted(ctx context.Context, endpoint, network, address string) (net.Conn, error) {
	var refused atomic.Bool // of several addresses, any may be permitted
	dialer := net.Dialer{}
	if policy := s.config.Policy; policy != nil {
		dialer.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
			resolved, err := netip.ParseAddrPort(address)
			if err != nil || !policy.PermitsAddress(s.flow.Tenant, endpoint, resolved.Addr()) {
				refused.Store(true)
				return errNotPermitted
			}
			return nil
		}
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil && refused.Load() {
		err = errNotPermitted
	}
	return conn, err
}

// Refusals are the endpoints that this process did not connect to when they were last dialed.
type Refusals struct {
	// NotPermitted resolved to addresses that are not permitted.
	NotPermitted []string
	// Limited are beyond the connections that the namespace may have.
	Limited []string
}

// setRefused notes whether an endpoint was refused when it was last dialed, and reports whether that is new.
func (s *Session) setRefused(endpoint string, err error) (isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := func(list *[]string, refused bool) {
		i := slices.Index(*list, endpoint)
		switch {
		case refused == (i >= 0):
			return
		case refused:
			*list = append(*list, endpoint)
		default:
			*list = slices.Delete(*list, i, i+1)
		}
		isNew = true
	}
	set(&s.refusals.NotPermitted, errors.Is(err, errNotPermitted))
	set(&s.refusals.Limited, errors.Is(err, errTooManySockets))
	return isNew
}

// Refusals returns the endpoints that were refused when they were last dialed.
func (s *Session) Refusals() Refusals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Refusals{slices.Clone(s.refusals.NotPermitted), slices.Clone(s.refusals.Limited)}
}
