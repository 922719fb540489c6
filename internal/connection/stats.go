// SPDX-License-Identifier: Apache-2.0

package connection

import "k8s.io/apimachinery/pkg/types"

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
