// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"maps"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
)

// Manager holds a session for each TeamTalkServer.
type Manager struct {
	log    logr.Logger
	on     Events
	shared shared

	ctx        context.Context
	cancel     context.CancelFunc
	goroutines sync.WaitGroup

	mu       sync.Mutex
	sessions map[types.NamespacedName]*entry
}

// entry is a session of a Manager.
type entry struct {
	*Session
	server types.NamespacedName
	cancel context.CancelFunc
	// retired: read notifies of its routers are ignored.
	retired atomic.Bool
}

// Events are the callbacks of a Manager. They must not block.
type Events struct {
	// Connection: a connection of the server is up or down.
	Connection func(server types.NamespacedName)
	// Usable: the server now has a session or a key, and had none. This need not change its status.
	Usable func(server types.NamespacedName)
	// Read is called when a router has relayed a read notify. Several routers may relay the same one. It may be nil.
	Read func(server types.NamespacedName, read router.Read)
	// Group: a router has relayed that another peer has changed the members of a group. It may be nil.
	Group func(server types.NamespacedName, group uint32)
	// Addresses is called when the server's db_proxy addresses change, with all addresses by name and as resolved, or with
	// none if the server was removed. It is called with locks held, before a request is sent to a new address. It may be
	// nil.
	Addresses func(server types.NamespacedName, addresses []string)
	// Gone: the session is removed or replaced. It is called with locks held, and may be nil.
	Gone func(server types.NamespacedName)
}

// NewManager returns a Manager without sessions. limits bound the requests of all of them to each db_proxy. gate may
// prevent the write of a request by an error.
func NewManager(log logr.Logger, limits *dbproxy.Limits, gate func() error, on Events) *Manager {
	m := &Manager{
		log: log, on: on,
		shared: shared{
			limits: limits, memory: dbproxy.NewMemory(dbproxy.DefaultMemory),
			sockets: newSockets(maxSockets, firstSockets), gate: gate,
		},
		sessions: map[types.NamespacedName]*entry{},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Start implements manager.Runnable. It closes the sessions when ctx is done, and waits for that.
func (m *Manager) Start(ctx context.Context) error {
	<-ctx.Done()
	m.mu.Lock()
	m.cancel()
	m.mu.Unlock()
	m.goroutines.Wait()
	return nil
}

// Get returns the server's session, if there is one.
func (m *Manager) Get(server types.NamespacedName) (*Session, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.sessions[server]; ok {
		return h.Session, true
	}
	return nil, false
}

// Ensure returns a session with the configuration. It replaces a session with another configuration. New keys apply
// immediately.
func (m *Manager) Ensure(server types.NamespacedName, c Config, keys cipher.Keys) *Session {
	session, usable := m.ensure(server, c, keys)
	if usable {
		m.on.Usable(server)
	}
	return session
}

// ensure also reports whether to call Events.Usable.
func (m *Manager) ensure(server types.NamespacedName, c Config, keys cipher.Keys) (_ *Session, usable bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	usable = true
	if h, ok := m.sessions[server]; ok {
		if reflect.DeepEqual(h.config, c) {
			usable = keys.Current != nil && h.Keys().Current == nil
			h.setKeys(keys)
			m.reportAddresses(h) // who may use the server may have changed
			return h.Session, usable
		}
		m.retire(h)
	}
	log := m.log.WithValues("server", server.String())
	h := &entry{server: server}
	h.Session = newSession(server, c, m.shared, log, sessionEvents{
		change: func() { m.on.Connection(server) },
		address: func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.reportAddresses(h)
		},
		read: m.onRead(h), group: m.onGroup(h),
	})
	h.keys = keys
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(m.ctx)
	m.sessions[server] = h
	m.reportAddresses(h)
	m.spawn(func() { h.run(ctx) })
	return h.Session, usable
}

// Remove removes the server's session and closes it after its requests in flight.
func (m *Manager) Remove(server types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.sessions[server]; ok {
		delete(m.sessions, server)
		m.retire(h)
	}
	if m.on.Addresses != nil {
		m.on.Addresses(server, nil)
	}
}

// reportAddresses reports the addresses of a session, unless it has been replaced. It needs the lock.
func (m *Manager) reportAddresses(h *entry) {
	if m.on.Addresses != nil && m.sessions[h.server] == h {
		m.on.Addresses(h.server, h.addresses())
	}
}

// onRead returns the callback for read notifies of a session, or nil.
func (m *Manager) onRead(h *entry) func(router.Read) {
	if m.on.Read == nil {
		return nil
	}
	return func(r router.Read) {
		if !h.retired.Load() {
			m.on.Read(h.server, r)
		}
	}
}

// onGroup returns the callback for changes of groups of a session, or nil.
func (m *Manager) onGroup(h *entry) func(uint32) {
	if m.on.Group == nil {
		return nil
	}
	return func(group uint32) {
		if !h.retired.Load() {
			m.on.Group(h.server, group)
		}
	}
}

// retire closes a session in the background. It needs the lock.
func (m *Manager) retire(h *entry) {
	h.retired.Store(true)
	if m.on.Gone != nil {
		m.on.Gone(h.server)
	}
	m.spawn(func() {
		h.close()
		h.cancel()
	})
}

// spawn runs f unless Start has ended. It needs the lock.
func (m *Manager) spawn(f func()) {
	if m.ctx.Err() == nil {
		m.goroutines.Go(f)
	}
}

// Stats is the state of a session.
type Stats struct {
	Health
	// KeyLoaded: there is a key for encryption.
	KeyLoaded bool
	// InFlight counts requests, including queued ones.
	InFlight int
}

// Stats returns the state of each session by server.
func (m *Manager) Stats() map[types.NamespacedName]Stats {
	m.mu.Lock()
	sessions := maps.Clone(m.sessions)
	m.mu.Unlock()
	stats := make(map[types.NamespacedName]Stats, len(sessions))
	for server, s := range sessions {
		stats[server] = Stats{
			Health: s.Health(), KeyLoaded: s.Keys().Current != nil, InFlight: int(s.inFlight.Load()),
		}
	}
	return stats
}
