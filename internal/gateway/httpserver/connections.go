// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// connections bounds the connections that hold no place of a request in flight: new ones, idle ones, and those on
// which headers or a body arrive. Over a limit, the one that has waited longest is closed. So a new connection is
// always accepted, and no number of idle or slow ones keeps it out. The requests in flight bound the others.
type connections struct {
	limit, perAddress int

	mu sync.Mutex
	// waiting counts those of all addresses.
	waiting int
	// addresses have lists of *connection, the one that has waited longest first.
	addresses map[string]*list.List
}

// connection is a connection of a client.
type connection struct {
	*net.TCPConn
	set     *connections
	address string
	// Guarded by set.mu: element is nil unless the connection waits. A closed one does not wait again.
	element *list.Element
	closed  bool
}

func newConnections(limit, perAddress int) *connections {
	return &connections{limit: limit, perAddress: perAddress, addresses: map[string]*list.List{}}
}

// wait adds the connection to those that wait, and closes one that is over a limit.
func (c *connection) wait() {
	s := c.set
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.closed || c.element != nil {
		return
	}
	same := s.addresses[c.address]
	if same == nil {
		same = list.New()
		s.addresses[c.address] = same
	}
	c.element = same.PushBack(c)
	s.waiting++
	crowded := same
	if same.Len() <= s.perAddress {
		if s.waiting <= s.limit {
			return
		}
		// Of the address with the most, so that few addresses do not cost the others their idle connections.
		for _, of := range s.addresses {
			if of.Len() > crowded.Len() {
				crowded = of
			}
		}
	}
	longest, ok := crowded.Front().Value.(*connection)
	if !ok {
		return // unreachable
	}
	longest.leave()
	longest.closed = true
	_ = longest.TCPConn.Close() // it does not block: SO_LINGER is not set
}

// serve removes the connection from those that wait, until the next call of wait.
func (c *connection) serve() {
	c.set.mu.Lock()
	defer c.set.mu.Unlock()
	c.leave()
}

// leave is serve for a caller that holds set.mu.
func (c *connection) leave() {
	s := c.set
	if c.element == nil {
		return
	}
	same := s.addresses[c.address]
	same.Remove(c.element)
	if same.Len() == 0 {
		delete(s.addresses, c.address)
	}
	c.element = nil
	s.waiting--
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.set.mu.Lock()
	c.leave()
	c.closed = true
	c.set.mu.Unlock()
	return c.TCPConn.Close()
}

// boundedListener adds the connections that it accepts to a set.
type boundedListener struct {
	*net.TCPListener
	set *connections
}

// listenBounded listens at an address.
func listenBounded(address string, set *connections) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s is no TCP address", address), l.Close())
	}
	return boundedListener{tcp, set}, nil
}

// Accept implements net.Listener.
func (l boundedListener) Accept() (net.Conn, error) {
	tcp, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	c := &connection{TCPConn: tcp, set: l.set, address: clientAddress(tcp.RemoteAddr().String())}
	c.wait()
	return c, nil
}

type connectionKey struct{}

// withConnection is a http.Server's ConnContext.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	if encrypted, ok := c.(*tls.Conn); ok {
		c = encrypted.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, c)
}

// connectionOf returns the connection of a request's context, or nil.
func connectionOf(ctx context.Context) *connection {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	return c
}

// clientAddress returns the address for limits: an IPv4 address, or the /64 network of an IPv6 address, all of which
// one client can use.
func clientAddress(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, 64).Masked().String()
}
