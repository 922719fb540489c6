package metrics

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/reads"
)

var _ reads.Listener = (*Metrics)(nil)

// Read implements reads.Listener.
func (m *Metrics) Read(server types.NamespacedName, to v1alpha1.RecipientType, after time.Duration) {
	m.read.WithLabelValues(server.Namespace, server.Name, recipientType(to)).Observe(after.Seconds())
}

// GaveUp implements reads.Listener.
func (m *Metrics) GaveUp(server types.NamespacedName, why reads.GiveUp) {
	m.unread.WithLabelValues(server.Namespace, server.Name, string(why)).Inc()
}

// Dropped implements reads.Listener.
func (m *Metrics) Dropped(server types.NamespacedName) {
	m.unheard.WithLabelValues(server.Namespace, server.Name).Inc()
}

// beginReads lets what is to be seen from its first event on be seen as 0 before.
func (m *Metrics) beginReads(ns, name string) {
	for _, to := range []v1alpha1.RecipientType{v1alpha1.RecipientUser, v1alpha1.RecipientGroup} {
		m.read.WithLabelValues(ns, name, recipientType(to))
	}
	for _, why := range reads.GiveUps {
		m.unread.WithLabelValues(ns, name, string(why))
	}
	m.unheard.WithLabelValues(ns, name)
}

// recipientType is user or group.
func recipientType(t v1alpha1.RecipientType) string { return strings.ToLower(string(t)) }
