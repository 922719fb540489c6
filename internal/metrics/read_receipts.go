// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
)

var _ readreceipt.Listener = (*Metrics)(nil)

// Read implements readreceipt.Listener.
func (m *Metrics) Read(server types.NamespacedName, to v1alpha1.RecipientType, after time.Duration) {
	m.read.WithLabelValues(server.Namespace, server.Name, recipientType(to)).Observe(after.Seconds())
}

// Expired implements readreceipt.Listener.
func (m *Metrics) Expired(server types.NamespacedName, why readreceipt.ExpiryReason) {
	m.readExpired.WithLabelValues(server.Namespace, server.Name, string(why)).Inc()
}

// Dropped implements readreceipt.Listener.
func (m *Metrics) Dropped(server types.NamespacedName) {
	m.readDropped.WithLabelValues(server.Namespace, server.Name).Inc()
}

// initializeReadReceipts is initialize for the metrics of read receipts.
func (m *Metrics) initializeReadReceipts(ns, name string) {
	for _, to := range []v1alpha1.RecipientType{v1alpha1.RecipientUser, v1alpha1.RecipientGroup} {
		m.read.WithLabelValues(ns, name, recipientType(to))
	}
	for _, why := range readreceipt.ExpiryReasons {
		m.readExpired.WithLabelValues(ns, name, string(why))
	}
	m.readDropped.WithLabelValues(ns, name)
}

// recipientType returns user or group.
func recipientType(t v1alpha1.RecipientType) string { return strings.ToLower(string(t)) }
