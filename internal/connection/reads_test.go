// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// say sends a read notify to a router, which relays it.
func say(t *testing.T, address string, r router.Read) {
	t.Helper()
	dialRouter(t, address, wire.CommandMsgReadNotify, 0, &wire.IMMsgDataReadNotify{
		UserId: &r.User, SessionId: &r.Session, MsgId: &r.UpTo, SessionType: wire.SessionType_SESSION_TYPE_SINGLE.Enum(),
	})
}

func (h *harness) read(want router.Read) {
	h.t.Helper()
	select {
	case got := <-h.reads:
		if got != want {
			h.t.Errorf("read %v, want %v", got, want)
		}
	case <-time.After(patience):
		h.t.Fatalf("nobody has read %v", want)
	}
}

// TestReads: the notifies of each router are passed on, until their session is removed or replaced.
func TestReads(t *testing.T) {
	one, two, h := serve(t), serve(t), start(t)
	c := config(one)
	c.Router = append(c.Router, two.RouterAddr())
	s := h.Ensure(name, c, keys(t))
	h.await("routers", func() bool { return s.Health().RouterConnected == 2 })
	said := router.Read{User: 3, Session: 1, UpTo: 5}
	for _, address := range c.Router {
		say(t, address, said)
		h.read(said)
	}

	h.Ensure(name, c, keys(t))
	if n := h.gone.Load(); n != 0 {
		t.Errorf("gone %d times with another key", n)
	}
	before := h.sessions[name]
	c.Rate = 5
	s = h.Ensure(name, c, keys(t))
	if n := h.gone.Load(); n != 1 {
		t.Errorf("gone %d times with another configuration", n)
	}
	h.onRead(before)(said) // its last request is not answered yet
	h.await("routers", func() bool { return s.Health().RouterConnected == 2 })
	later := router.Read{User: 3, Session: 1, UpTo: 6}
	say(t, two.RouterAddr(), later)
	h.read(later)

	h.Remove(name)
	h.Remove(name)
	if n := h.gone.Load(); n != 2 {
		t.Errorf("gone %d times when it was removed", n)
	}
}

// TestWithoutReads: Read and Gone may be nil.
func TestWithoutReads(t *testing.T) {
	server, h := serve(t), start(t)
	h.on.Read, h.on.Gone = nil, nil
	s := h.Ensure(name, config(server), keys(t))
	h.await("router", func() bool { return s.Health().RouterConnected == 1 })
	say(t, server.RouterAddr(), router.Read{User: 3, Session: 1, UpTo: 5})
	m := message(t, "hello")
	if err := s.Route(t.Context(), m, 1); err != nil {
		t.Errorf("Route: %v", err)
	}
	h.Remove(name)
}

// TestListensSince: a session listens since its last router was connected, as long as all of them are.
func TestListensSince(t *testing.T) {
	one, two, h := serve(t), serve(t), start(t)
	c := config(one)
	c.Router = append(c.Router, two.RouterAddr())
	s := h.Ensure(name, c, keys(t))
	h.await("routers", func() bool { return s.Health().RouterConnected == 2 })
	since := s.ListensSince()
	for _, r := range s.routers {
		if connected := r.ConnectedSince(); since.IsZero() || connected.After(since) {
			t.Errorf("listens since %v, and a router is connected since %v", since, connected)
		}
	}
	two.Stop()
	h.await("a router less", func() bool { return s.ListensSince().IsZero() })
}
