// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
)

// Sources are the sources of the gauges.
type Sources struct {
	Load    func() delivery.Load
	Servers func() map[types.NamespacedName]connection.Stats
	// Leads reports whether this process may send.
	Leads func() bool
}

// states of recipients in progress.
var states = []v1alpha1.RecipientState{
	v1alpha1.StatePending, v1alpha1.StateInDoubt, v1alpha1.StateAcknowledged, v1alpha1.StateStored,
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range m.vectors {
		v.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	set := func(v *prometheus.GaugeVec, value int, labels ...string) {
		v.WithLabelValues(labels...).Set(float64(value))
	}
	set(m.leader, number(m.sources.Leads()))
	load := m.sources.Load()
	for _, s := range states {
		set(m.recipientsNow, load.Recipients[s], string(s))
	}
	set(m.conversations, load.Conversations)
	set(m.waiting, load.Waiting)
	stats := m.sources.Servers()
	for server, s := range stats {
		ns, name := server.Namespace, server.Name
		set(m.connections, s.DBProxyConnected, ns, name, "db_proxy")
		set(m.connections, s.RouterConnected, ns, name, "router")
		set(m.desired, s.DBProxyDesired, ns, name, "db_proxy")
		set(m.desired, s.RouterDesired, ns, name, "router")
		set(m.keyLoaded, number(s.KeyLoaded), ns, name)
		set(m.inFlight, s.InFlight, ns, name)
		if !m.servers[server] {
			m.servers[server] = true
			m.initialize(server)
		}
	}
	for server := range m.servers {
		if _, exists := stats[server]; !exists {
			delete(m.servers, server)
			m.remove(server)
		}
	}
	for _, v := range m.vectors {
		v.Collect(ch)
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// failures are the reasons of messages with OutcomeFailed.
var failures = []string{
	v1alpha1.ReasonRetriesExhausted, v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonKeyReused,
	v1alpha1.ReasonOutcomeUnknown,
	v1alpha1.ReasonSenderNotPermitted, v1alpha1.ReasonRecipientNotPermitted,
	v1alpha1.ReasonSenderNotFound, v1alpha1.ReasonRecipientNotFound, v1alpha1.ReasonGroupNotFound,
	v1alpha1.ReasonRecipientAmbiguous, v1alpha1.ReasonRecipientDeparted,
	v1alpha1.ReasonSenderNotInGroup, v1alpha1.ReasonSendToSelf,
	v1alpha1.ReasonContentEmpty, v1alpha1.ReasonContentTooLong, v1alpha1.ReasonContentInvalid,
	v1alpha1.ReasonContentChanged, v1alpha1.ReasonStatusTooLarge,
}

// initialize creates the series of a server with value 0. Prometheus sees no increase in a counter that appears
// with its first event.
func (m *Metrics) initialize(server types.NamespacedName) {
	ns, name := server.Namespace, server.Name
	m.messages.WithLabelValues(ns, name, v1alpha1.ReasonDelivered, v1alpha1.ReasonDelivered)
	m.messages.WithLabelValues(ns, name, v1alpha1.ReasonDelivered, v1alpha1.ReasonStoredNotRouted)
	m.messages.WithLabelValues(ns, name, v1alpha1.ReasonPartiallyDelivered, v1alpha1.ReasonPartiallyDelivered)
	for _, reason := range failures {
		m.messages.WithLabelValues(ns, name, OutcomeFailed, reason)
	}
	m.recipients.WithLabelValues(ns, name, string(v1alpha1.StateRouted), v1alpha1.ReasonDelivered)
	m.recipients.WithLabelValues(ns, name, string(v1alpha1.StateStored), v1alpha1.ReasonStoredNotRouted)
	m.recipients.WithLabelValues(ns, name, string(v1alpha1.StateFailed), v1alpha1.ReasonOutcomeUnknown)
	for _, reason := range []string{v1alpha1.ReasonNoAnswer, v1alpha1.ReasonStoreRejected, v1alpha1.ReasonNotStored} {
		m.retries.WithLabelValues(ns, name, reason)
	}
	for _, outcome := range []string{
		v1alpha1.ReasonDelivered, v1alpha1.ReasonPartiallyDelivered, OutcomeFailed, OutcomeStopped,
	} {
		m.escalations.WithLabelValues(ns, name, outcome)
	}
	m.adopted.WithLabelValues(ns, name)
	m.dropped.WithLabelValues(ns, name)
	m.statusesRefused.WithLabelValues(ns, name)
	m.stored.WithLabelValues(ns, name)
	m.routed.WithLabelValues(ns, name)
	for _, to := range []v1alpha1.RecipientType{v1alpha1.RecipientUser, v1alpha1.RecipientGroup} {
		m.read.WithLabelValues(ns, name, recipientType(to))
	}
	for _, why := range readreceipt.ExpiryReasons {
		m.readExpired.WithLabelValues(ns, name, string(why))
	}
	m.readDropped.WithLabelValues(ns, name)
	for _, reason := range []string{v1alpha1.ReasonRead, v1alpha1.ReasonReadDeadlineExceeded, v1alpha1.ReasonNotRouted} {
		m.readDecided.WithLabelValues(ns, name, reason)
	}
	for _, end := range delivery.DoubtEnds {
		m.doubt.WithLabelValues(ns, name, string(end))
	}
}

// remove deletes the series of a server.
func (m *Metrics) remove(server types.NamespacedName) {
	for _, v := range m.vectors {
		v.DeletePartialMatch(prometheus.Labels{labelNamespace: server.Namespace, labelServer: server.Name})
	}
}
