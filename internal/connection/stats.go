package connection

import "k8s.io/apimachinery/pkg/types"

// Stats is how a session stands at one moment.
type Stats struct {
	Health
	// KeyLoaded: there is a key to encrypt with.
	KeyLoaded bool
	// InFlight counts requests under way, those that wait for their turn included.
	InFlight int
}

// Stats returns how the session of each server stands.
func (m *Manager) Stats() map[types.NamespacedName]Stats {
	m.mu.Lock()
	sessions := make(map[types.NamespacedName]*Session, len(m.sessions))
	for server, h := range m.sessions {
		sessions[server] = h.Session
	}
	m.mu.Unlock()
	stats := make(map[types.NamespacedName]Stats, len(sessions))
	for server, s := range sessions {
		stats[server] = Stats{
			Health: s.Health(), KeyLoaded: s.Keys().Current != nil, InFlight: int(s.inFlight.Load()),
		}
	}
	return stats
}
