package connection

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
)

// Manager keeps one session per TeamTalkServer.
type Manager struct {
	log    logr.Logger
	gate   func() error
	on     Events
	limits limits

	ctx        context.Context
	cancel     context.CancelFunc
	goroutines sync.WaitGroup

	mu       sync.Mutex
	sessions map[types.NamespacedName]*held
}

// held is a session with what ends its connections.
type held struct {
	*Session
	server types.NamespacedName
	cancel context.CancelFunc
	// gone: what its routers still say is no longer of interest.
	gone atomic.Bool
}

// Events tell who works with sessions that one has changed. They must not block.
type Events struct {
	// Connection: a connection of the server has come up or gone.
	Connection func(server types.NamespacedName)
	// Usable: the server has a session, or a key, and had none before. No status
	// need change with it: after a restart, the status says so already.
	Usable func(server types.NamespacedName)
	// Read: a router has relayed who has read what. It is called for each router that
	// does, and never of a session that is Gone. nil: nobody listens.
	Read func(server types.NamespacedName, read router.Read)
	// Gone: the session that the server had is no more; what it knew is of a TeamTalk
	// that may be another one from now on. Called with locks held. nil: nobody listens.
	Gone func(server types.NamespacedName)
}

// NewManager returns a Manager without sessions. gate is asked before every
// request is written to a socket, and keeps it from being written by an error.
func NewManager(log logr.Logger, gate func() error, on Events) *Manager {
	m := &Manager{log: log, gate: gate, on: on, sessions: map[types.NamespacedName]*held{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Start keeps the sessions until ctx is done, then closes them and returns when
// the last connection is closed. It is a manager's Runnable.
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
	h, ok := m.sessions[server]
	if !ok {
		return nil, false
	}
	return h.Session, true
}

// Ensure returns the server's session as configured. New keys take effect at
// once; a new configuration makes a new session, and the old one is closed when
// its requests in flight are answered.
func (m *Manager) Ensure(server types.NamespacedName, c Config, keys cipher.Keys) *Session {
	session, usable := m.ensure(server, c, keys)
	if usable {
		m.on.Usable(server)
	}
	return session
}

// ensure also reports whether the server has a session or a key that it did not
// have before.
func (m *Manager) ensure(server types.NamespacedName, c Config, keys cipher.Keys) (_ *Session, usable bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	usable = true
	if h, ok := m.sessions[server]; ok {
		if reflect.DeepEqual(h.config, c) {
			usable = keys.Current != nil && h.Keys().Current == nil
			h.setKeys(keys)
			return h.Session, usable
		}
		m.retire(h)
	}
	log := m.log.WithValues("server", server.String())
	h := &held{server: server}
	h.Session = newSession(c, &m.limits, log, m.gate, func() { m.on.Connection(server) }, m.reads(h))
	h.keys = keys
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(m.ctx)
	m.sessions[server] = h
	m.spawn(func() {
		h.run(ctx)
		m.limits.release(h.Session)
	})
	return h.Session, usable
}

// Remove closes the server's session, if there is one, when its requests in
// flight are answered.
func (m *Manager) Remove(server types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.sessions[server]; ok {
		delete(m.sessions, server)
		m.retire(h)
	}
}

// reads returns what listens to the read notifies of a session; nil: nobody does.
func (m *Manager) reads(h *held) func(router.Read) {
	if m.on.Read == nil {
		return nil
	}
	return func(r router.Read) {
		if !h.gone.Load() {
			m.on.Read(h.server, r)
		}
	}
}

// retire needs the lock. It cannot block: requests in flight have timeouts.
func (m *Manager) retire(h *held) {
	h.gone.Store(true)
	if m.on.Gone != nil {
		m.on.Gone(h.server)
	}
	m.spawn(func() {
		h.close()
		h.cancel()
	})
}

// spawn needs the lock: nothing is started once Start waits for what runs.
func (m *Manager) spawn(f func()) {
	if m.ctx.Err() == nil {
		m.goroutines.Go(f)
	}
}
