package connection

import (
	"context"
	"reflect"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// Manager keeps one session per TeamTalkServer.
type Manager struct {
	log    logr.Logger
	notify func(types.NamespacedName)
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
	cancel context.CancelFunc
}

// NewManager returns a Manager that calls notify, which must not block, whenever
// a connection of a server comes up or goes.
func NewManager(log logr.Logger, notify func(types.NamespacedName)) *Manager {
	m := &Manager{log: log, notify: notify, sessions: map[types.NamespacedName]*held{}}
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
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.sessions[server]; ok {
		if reflect.DeepEqual(h.config, c) {
			h.setKeys(keys)
			return h.Session
		}
		m.retire(h)
	}
	log := m.log.WithValues("server", server.String())
	h := &held{Session: newSession(c, &m.limits, log, func() { m.notify(server) })}
	h.keys = keys
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(m.ctx)
	m.sessions[server] = h
	m.spawn(func() {
		h.run(ctx)
		m.limits.release(h.Session)
	})
	return h.Session
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

// retire needs the lock. It cannot block: requests in flight have timeouts.
func (m *Manager) retire(h *held) {
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
