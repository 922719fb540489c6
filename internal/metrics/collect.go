// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// Sources are the sources of the gauges.
type Sources struct {
	Load    func() delivery.Load
	Servers func() map[types.NamespacedName]connection.Stats
	// Leads reports whether this process may send.
	Leads func() bool
}

// Gauges, which are read at each scrape.
var (
	descLeader = gauge("leader",
		"1 while this process holds the Lease and may send, else 0.")
	descRecipients = gauge("recipients",
		"Recipients in progress, by state.", "state")
	descConversations = gauge("conversations",
		"Conversations with recipients in progress.")
	descWaiting = gauge("conversations_waiting_recipients",
		"Recipients that are queued in their conversations.")
	descConnections = gauge("connections",
		"Connections that accept requests, by peer: db_proxy or router.", byServer("peer")...)
	descDesired = gauge("connections_desired",
		"Connections in the spec of the TeamTalkServer.", byServer("peer")...)
	descKey = gauge("key_loaded",
		"1 if there is a key to encrypt messages, else 0.", byServer()...)
	descInFlight = gauge("requests_in_flight",
		"Requests to db_proxy and routers without an answer, including queued ones.", byServer()...)
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(Prefix+name, help, labels, nil)
}

// states of recipients in progress.
var states = []v1alpha1.RecipientState{
	v1alpha1.StatePending, v1alpha1.StateInDoubt, v1alpha1.StateAcknowledged, v1alpha1.StateStored,
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descLeader, descRecipients, descConversations, descWaiting, descConnections, descDesired, descKey, descInFlight,
	} {
		ch <- d
	}
	for _, v := range m.vectors() {
		v.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	set := func(d *prometheus.Desc, value int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	set(descLeader, number(m.sources.Leads()))
	load := m.sources.Load()
	for _, s := range states {
		set(descRecipients, load.Recipients[s], string(s))
	}
	set(descConversations, load.Conversations)
	set(descWaiting, load.Waiting)
	stats := m.sources.Servers()
	for server, s := range stats {
		ns, name := server.Namespace, server.Name
		set(descConnections, s.DBProxyConnected, ns, name, "db_proxy")
		set(descConnections, s.RouterConnected, ns, name, "router")
		set(descDesired, s.DBProxyDesired, ns, name, "db_proxy")
		set(descDesired, s.RouterDesired, ns, name, "router")
		set(descKey, number(s.KeyLoaded), ns, name)
		set(descInFlight, s.InFlight, ns, name)
	}
	m.servers.update(stats, m.initialize, m.remove)
	for _, v := range m.vectors() {
		v.Collect(ch)
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// vector is a metric with labels.
type vector interface {
	prometheus.Collector
	DeletePartialMatch(prometheus.Labels) int
}

func (m *Metrics) vectors() []vector {
	return []vector{
		m.messages, m.recipients, m.retries, m.adopted, m.dropped, m.duration, m.stored, m.routed,
		m.read, m.readExpired, m.readDropped, m.doubt, m.steps,
	}
}

// failures are the reasons of messages with OutcomeFailed.
var failures = []string{
	v1alpha1.ReasonRetriesExhausted, v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonKeyReused,
	v1alpha1.ReasonOutcomeUnknown,
	v1alpha1.ReasonSenderNotPermitted, v1alpha1.ReasonRecipientNotPermitted,
	v1alpha1.ReasonSenderNotFound, v1alpha1.ReasonRecipientNotFound, v1alpha1.ReasonGroupNotFound,
	v1alpha1.ReasonSenderNotInGroup, v1alpha1.ReasonSendToSelf,
	v1alpha1.ReasonContentEmpty, v1alpha1.ReasonContentTooLong, v1alpha1.ReasonContentInvalid,
	v1alpha1.ReasonContentChanged,
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
	m.adopted.WithLabelValues(ns, name)
	m.dropped.WithLabelValues(ns, name)
	m.stored.WithLabelValues(ns, name)
	m.routed.WithLabelValues(ns, name)
	m.initializeReadReceipts(ns, name)
	for _, end := range delivery.DoubtEnds {
		m.doubt.WithLabelValues(ns, name, string(end))
	}
}

// remove deletes the series of a server.
func (m *Metrics) remove(server types.NamespacedName) {
	for _, v := range m.vectors() {
		v.DeletePartialMatch(prometheus.Labels{labelNamespace: server.Namespace, labelServer: server.Name})
	}
}

// servers are those at the last scrape.
type servers struct {
	mu    sync.Mutex
	known map[types.NamespacedName]bool
}

// update calls add for each new server and remove for each deleted one.
func (s *servers) update(now map[types.NamespacedName]connection.Stats, add, remove func(types.NamespacedName)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[types.NamespacedName]bool{}
	}
	for server := range now {
		if !s.known[server] {
			s.known[server] = true
			add(server)
		}
	}
	for server := range s.known {
		if _, there := now[server]; !there {
			delete(s.known, server)
			remove(server)
		}
	}
}
