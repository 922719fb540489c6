// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

func TestAddressOf(t *testing.T) {
	tcp := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	cases := map[string]struct {
		a, b     net.Addr
		wantSame bool
	}{
		"one":                    {tcp("10.0.0.1", 1), tcp("10.0.0.1", 1), true},
		"IPv4 in 4 and 16 bytes": {&net.TCPAddr{IP: net.IP{10, 0, 0, 1}, Port: 1}, tcp("::ffff:10.0.0.1", 1), true},
		"loopback":               {tcp("127.0.0.1", 1), tcp("::1", 1), true},
		"another loopback":       {tcp("127.0.0.1", 1), tcp("127.9.9.9", 1), true},
		"a zone":                 {&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 1, Zone: "eth0"}, tcp("fe80::1", 1), true},
		"another port":           {tcp("127.0.0.1", 1), tcp("127.0.0.1", 2), false},
		"another address":        {tcp("10.0.0.1", 1), tcp("10.0.0.2", 1), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if a, b := addressOf(tc.a), addressOf(tc.b); (a == b) != tc.wantSame {
				t.Errorf("%s and %s", a, b)
			}
		})
	}
}

// at makes a connection look as if it were made to an address.
type at struct {
	net.Conn
	address string
}

func (c at) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.address))
}

// fleet are db_proxies by address, and clients that find them by names.
type fleet struct {
	*peer.Listener
	limits *Limits
	mu     sync.Mutex
	// resolve returns the address that the next connection to a name is made to.
	resolve func(name string) string
	servers map[string][]*peer.Conn
}

func newFleet(t *testing.T, total, group int, resolve func(string) string) *fleet {
	return &fleet{Listener: peer.Listen(t), limits: NewLimits(total, group), resolve: resolve, servers: map[string][]*peer.Conn{}}
}

// client runs a client of a name.
func (f *fleet) client(t *testing.T, name string, connections int) *Client {
	c := New(Options{
		Address: name, Connections: connections, Limits: f.limits, Quota: &Quota{Tenant: name},
		Dial: func(ctx context.Context, network, name string) (net.Conn, error) {
			nc, err := f.Dial(ctx, network, peer.Address)
			f.mu.Lock()
			defer f.mu.Unlock()
			address := f.resolve(name)
			f.servers[address] = append(f.servers[address], <-f.Conns)
			return at{nc, address}, err
		},
	})
	peer.Start(t, c.Run)
	synctest.Wait()
	return c
}

// arrived counts the requests at an address.
func (f *fleet) arrived(address string) (n int) {
	synctest.Wait()
	for _, server := range f.servers[address] {
		n += len(server.Requests)
	}
	return n
}

// TestOneDBProxyOfManyNames: the names of one db_proxy have one limit together.
func TestOneDBProxyOfManyNames(t *testing.T) {
	const group = 2
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 64, group, func(string) string { return "10.0.0.1:10600" })
		for _, name := range []string{"db:10600", "DB:10600", "db.:10600", "db:010600", "db.chat.svc:10600", "[::ffff:a00:1]:10600"} {
			c := f.client(t, name, 2)
			for range 8 {
				go func() { _, _ = c.List(t.Context(), groupChat, 1) }()
			}
		}
		if n := f.arrived("10.0.0.1:10600"); n != group {
			t.Errorf("%d group requests, want %d", n, group)
		}
	})
}

// TestManyDBProxiesOfOneName: each db_proxy behind a name has limits of its own, and each of them is used.
func TestManyDBProxiesOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		f := newFleet(t, 4, 1, func(string) string {
			dials++
			return fmt.Sprintf("10.0.0.%d:10600", 1+dials%2)
		})
		c := f.client(t, "db:10600", 2)
		for range 20 {
			go func() { _, _ = c.Users(t.Context(), 1, []uint32{2}) }()
		}
		for _, address := range []string{"10.0.0.1:10600", "10.0.0.2:10600"} {
			if n := f.arrived(address); n != 4 {
				t.Errorf("%d requests at %s, want 4", n, address)
			}
		}
	})
}

// TestManyDBProxiesOneHangs: requests that wait go to the db_proxy behind a name that answers, even if all of them came
// before it was connected.
func TestManyDBProxiesOneHangs(t *testing.T) {
	const hangs, answers = "10.0.0.1:10600", "10.0.0.2:10600"
	for name, first := range map[string]int{"both are up": 2, "one comes up later": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dials := 0
				f := newFleet(t, 1, 1, func(string) string {
					dials++
					return map[bool]string{true: hangs, false: answers}[dials == 1]
				})
				c := f.client(t, "db:10600", first)
				var read []<-chan result[int]
				for range 20 {
					read = append(read, usersAsync(t, c))
				}
				if first == 1 {
					peer.Start(t, func(ctx context.Context) { c.keepConnected(ctx, 0, &link.DialBackoff{}) })
				}
				for n := range len(read) - 1 { // one of them is at the other
					if f.arrived(answers) != 1 {
						t.Fatalf("%d requests are answered, and the others wait for the one that hangs", n)
					}
					server := f.servers[answers][0]
					answerUsers(server, server.Next())
				}
			})
		})
	}
}

// TestNameMoves: what waits for a slot of a db_proxy that is gone goes to the one that the name resolves to now.
func TestNameMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		address := "10.0.0.1:10600"
		f := newFleet(t, 1, 1, func(string) string { return address })
		c := f.client(t, "db:10600", 1)
		first := async(func() (uint32, error) { return c.Send(t.Context(), t.Context(), message(2)) })
		address = "10.0.0.2:10600"
		second := f.client(t, "other:10600", 1) // at the new address
		waiting := async(func() (uint32, error) { return c.Send(t.Context(), t.Context(), message(3)) })
		_ = f.servers["10.0.0.1:10600"][0].Close()
		want(t, "in flight", <-first, 0, ErrConnectionLost)
		want(t, "waiting", <-waiting, 0, ErrNotSent, ErrNotConnected)
		for peer.Elapse(time.Second); c.Connected() == 0; {
			peer.Elapse(time.Second)
		}
		if n := len(f.limits.limiters); n != 1 {
			t.Errorf("%d db_proxies are remembered, want 1", n)
		}
		for _, c := range []*Client{c, second} {
			go func() { _, _ = c.Send(t.Context(), t.Context(), message(2)) }()
		}
		if n := f.arrived("10.0.0.2:10600"); n != 1 {
			t.Errorf("%d requests at the new address, want 1", n)
		}
	})
}

// TestLimitsForget: a db_proxy that hung is remembered for longer than one that did not.
func TestLimitsForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := NewLimits(4, 3)
		wantKnown := func(what string, want int) {
			t.Helper()
			synctest.Wait()
			limits.mu.Lock()
			defer limits.mu.Unlock()
			if n := len(limits.limiters); n != want {
				t.Errorf("%s: %d are remembered, want %d", what, n, want)
			}
		}
		for i := range 1000 {
			s := limits.connect(fmt.Sprint(i), &Quota{})
			acquire(t, s, 1, true)[0].slot.release()
			s.disconnect()
		}
		wantKnown("after their connections", 0)
		s := limits.connect("hangs", &Quota{})
		abandon(s, acquire(t, s, 3, true))
		s.disconnect()
		peer.Elapse(quarantineTime + stuckMemory - time.Second)
		wantKnown("one that hung", 1)
		s = limits.connect("hangs", &Quota{})
		peer.Elapse(time.Hour)
		wantKnown("connected", 1)
		s.disconnect()
		peer.Elapse(stuckMemory - time.Second)
		wantKnown("after its connections", 1)
		peer.Elapse(time.Second)
		wantKnown("after a while", 0)
		s = limits.connect("late", &Quota{})
		calls := acquire(t, s, 1, true)
		s.limiter.becomesLate(calls[0], time.Now())
		wantSlots(t, s.limiter, 0, 0)
		abandon(s, calls)
		s.limiter.ends(calls[0])
		s.disconnect()
		wantKnown("one that hung, its slot given back early", 1)
		peer.Elapse(quarantineTime + stuckMemory)
		wantKnown("after a while", 0)
	})
}
