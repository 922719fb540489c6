// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// TestSockets: one namespace takes as much as it can, and others still get their part, and their first connections in
// any case.
func TestSockets(t *testing.T) {
	const limit, first = 90, 4
	s := newSockets(limit, first)
	takeAll := func(namespace, server string) (releases []func()) {
		for {
			release, ok := s.take(fairqueue.Flow{Tenant: namespace, Name: server})
			if !ok {
				return releases
			}
			releases = append(releases, release)
		}
	}
	one := takeAll("hostile", "one")
	if n := len(one); n != limit/3 {
		t.Errorf("one server has %d, want %d", n, limit/3)
	}
	hostile := len(one)
	for i := range 1000 {
		hostile += len(takeAll("hostile", fmt.Sprint(i)))
	}
	if hostile != limit/2 {
		t.Errorf("one namespace has %d, want %d", hostile, limit/2)
	}
	if n := len(takeAll("second", "a")); n != limit/2/3 {
		t.Errorf("a second namespace has %d, want %d", n, limit/2/3)
	}
	for i := range 200 {
		namespace := fmt.Sprint("late ", i)
		if n := len(takeAll(namespace, "a")); n < first {
			t.Fatalf("namespace %d has %d, want at least %d", i, n, first)
		}
	}
	if n := s.used.Used(); n > limit+first*202 {
		t.Errorf("%d in the process", n)
	}
	for _, release := range one {
		release()
		release() // a second time does nothing
	}
	if n := s.used.UsedBy("hostile"); n != hostile-len(one) {
		t.Errorf("%d left, want %d", n, hostile-len(one))
	}
}

// TestHostileServers: many servers of a namespace, with all the endpoints and connections that they may declare, have a
// bounded number of connections, and say so. A server of another namespace connects.
func TestHostileServers(t *testing.T) {
	const limit, first, servers, endpoints, connections = 60, 4, 30, 8, 16
	m := NewManager(logr.Discard(), dbproxy.NewLimits(64, 8), nil, Events{
		Connection: func(types.NamespacedName) {}, Usable: func(types.NamespacedName) {},
	})
	m.shared.sockets = newSockets(limit, first)
	run(t, m)
	accepting := newAcceptor(t)
	hostile := Config{Connections: connections}
	for range endpoints {
		hostile.DBProxy = append(hostile.DBProxy, accepting.listen())
	}
	var all []*Session
	for i := range servers {
		all = append(all, m.Ensure(types.NamespacedName{Namespace: "hostile", Name: fmt.Sprint(i)}, hostile, keys(t)))
	}
	limited := func() (n int) {
		for _, s := range all {
			n += min(1, len(s.Refusals().Limited))
		}
		return n
	}
	eventually(t, "all servers are limited", func() bool { return limited() == servers })
	// What the operator has closed is still open here for a moment.
	eventually(t, "one namespace has no more than half of the connections", func() bool {
		return accepting.open.Load() <= limit/2
	})
	server := serve(t)
	victim := m.Ensure(name, config(server), keys(t))
	eventually(t, "the victim is connected", func() bool {
		h := victim.Health()
		return h.DBProxyConnected == h.DBProxyDesired && h.RouterConnected == h.RouterDesired
	})
	if n := len(victim.Refusals().Limited); n != 0 {
		t.Errorf("%d endpoints of the victim are limited", n)
	}
	for i := range servers - 1 {
		m.Remove(types.NamespacedName{Namespace: "hostile", Name: fmt.Sprint(i)})
	}
	last := all[servers-1]
	eventually(t, "the last server has its part", func() bool { return last.Health().DBProxyConnected >= limit/2/3 })
}

// acceptor accepts connections and answers nothing.
type acceptor struct {
	t    *testing.T
	open atomic.Int64
}

func newAcceptor(t *testing.T) *acceptor { return &acceptor{t: t} }

// listen returns another address.
func (a *acceptor) listen() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			a.open.Add(1)
			go func() {
				defer a.open.Add(-1)
				defer c.Close()
				for b := make([]byte, 100); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * patience); !is(); {
		if time.Now().After(end) {
			t.Fatal("timed out waiting until ", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
