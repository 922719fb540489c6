// SPDX-License-Identifier: Apache-2.0

// Package metrics holds the operator's metrics for Prometheus. docs/operations.md describes them.
//
// New returns the Metrics, which are a delivery.Observer and a readreceipt.Listener. The values of labels are
// bounded: they are existing TeamTalkServers and constants, never ids of TeamTalk, names of messages or
// texts.
package metrics

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// Prefix is the prefix of the names of the operator's metrics.
const Prefix = "teamtalk_operator_"

// Labels of the TeamTalkServer. Prometheus sets "namespace" and "service" for the target.
const (
	labelNamespace = "server_namespace"
	labelServer    = "server"
)

// OutcomeFailed is the outcome of a message without a recipient that is known to have it. The other outcomes are
// reasons of the API.
const OutcomeFailed = "Failed"

// Metrics are the operator's metrics.
type Metrics struct {
	sources Sources
	servers servers

	messages, recipients      *prometheus.CounterVec
	retries, adopted, dropped *prometheus.CounterVec
	duration, stored, routed  *prometheus.HistogramVec
	read, doubt, steps        *prometheus.HistogramVec
	readExpired, readDropped  *prometheus.CounterVec
}

var (
	_ prometheus.Collector = (*Metrics)(nil)
	_ delivery.Observer    = (*Metrics)(nil)
)

// Buckets, in seconds.
var (
	// For requests to one db_proxy or router.
	stepBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20}
	// For times that are short unless something is wrong.
	latencyBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
	// For times that depend on outages. TeamTalk's times are whole seconds.
	longBuckets = []float64{1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 86400}
	// For readers, who may have the conversation open or return the next day.
	readBuckets = []float64{.25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400}
)

// New returns the metrics. Gauges are read from sources at each scrape.
func New(sources Sources) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: Prefix + name, Help: help}, byServer(labels...))
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Name: Prefix + name, Help: help, Buckets: buckets}, byServer(labels...))
	}
	return &Metrics{
		sources: sources,
		messages: counter("messages_finished_total",
			"Messages whose end is recorded, by outcome and the reason of their Delivered condition.", "outcome", "reason"),
		recipients: counter("recipients_finished_total",
			"Recipients whose end is recorded, by state and reason.", "state", "reason"),
		retries: counter("retries_total",
			"Retries, after nothing was stored or there was no answer, by reason.", "reason"),
		adopted: counter("adopted_total",
			"Messages found in the store by their delivery token, time or content, and not sent again."),
		dropped: counter("silent_drops_total",
			"Messages that db_proxy gave an id, and that are proved not to be stored."),
		duration: histogram("message_duration_seconds",
			"From the creation of a message, or its sendAfter, until its end is recorded, by outcome.", longBuckets, "outcome"),
		stored: histogram("accepted_to_stored_seconds",
			"From the submission of a message until it is proved to be stored, for each recipient.", latencyBuckets),
		routed: histogram("stored_to_routed_seconds",
			"From the store until a router accepted the message, for each recipient.", latencyBuckets),
		read: histogram("routed_to_read_seconds",
			"From the router until the user, or the first member of the group other than the sender, read it.",
			readBuckets, "recipient_type"),
		readExpired: counter("read_receipts_expired_total",
			"Recipients that are no longer tracked without having read the message, by reason: limit or age.", "reason"),
		readDropped: counter("read_receipts_dropped_total",
			"Read notifies that were dropped because the queue was full."),
		doubt: histogram("doubt_duration_seconds",
			"How long recipients were in doubt whether their message is stored, by the result.", longBuckets, "end"),
		steps: histogram("step_duration_seconds",
			"Duration of the steps of a delivery, including the queue for db_proxy.", stepBuckets, "step"),
	}
}

func byServer(more ...string) []string { return append([]string{labelNamespace, labelServer}, more...) }

// Observe implements delivery.Observer.
func (m *Metrics) Observe(t delivery.StepEvent) {
	ns, name := t.Server.Namespace, t.Server.Name
	if t.Step != delivery.StepExpire {
		m.steps.WithLabelValues(ns, name, t.Step.String()).Observe(t.Ended.Sub(t.Began).Seconds())
	}
	if reason := t.Retry(); reason != "" {
		m.retries.WithLabelValues(ns, name, reason).Inc()
	}
	if t.Adopted() {
		m.adopted.WithLabelValues(ns, name).Inc()
	}
	if t.SilentDrop() {
		m.dropped.WithLabelValues(ns, name).Inc()
	}
	if d, ok := t.Stored(); ok {
		m.stored.WithLabelValues(ns, name).Observe(d.Seconds())
	}
	if d, ok := t.Routed(); ok {
		m.routed.WithLabelValues(ns, name).Observe(d.Seconds())
	}
	if d, end, ok := t.Settled(); ok {
		m.doubt.WithLabelValues(ns, name, string(end)).Observe(d.Seconds())
	}
}

// RecipientsEnded counts recipients whose end was recorded.
func (m *Metrics) RecipientsEnded(server types.NamespacedName, ended []v1alpha1.RecipientStatus) {
	for _, r := range ended {
		reason := cmp.Or(r.Reason, v1alpha1.ReasonDelivered)
		m.recipients.WithLabelValues(server.Namespace, server.Name, string(r.State), reason).Inc()
	}
}

// Outcome returns the outcome of a message and the reason of its Delivered condition, or "" if it has none.
func Outcome(message *v1alpha1.TeamTalkMessage) (outcome, reason string) {
	c := meta.FindStatusCondition(message.Status.Conditions, v1alpha1.ConditionDelivered)
	switch {
	case c == nil:
		return "", ""
	case c.Status == "True":
		return v1alpha1.ReasonDelivered, c.Reason
	case c.Reason == v1alpha1.ReasonPartiallyDelivered:
		return v1alpha1.ReasonPartiallyDelivered, c.Reason
	}
	return OutcomeFailed, c.Reason
}

// Finished counts a message whose end was recorded at the time.
func (m *Metrics) Finished(server types.NamespacedName, message *v1alpha1.TeamTalkMessage, at time.Time) {
	outcome, reason := Outcome(message)
	if outcome == "" {
		return
	}
	m.messages.WithLabelValues(server.Namespace, server.Name, outcome, reason).Inc()
	due := message.CreationTimestamp.Time
	if at := message.ScheduledFor(); at.After(due) {
		due = at
	}
	// The clock of the API server may be ahead.
	m.duration.WithLabelValues(server.Namespace, server.Name, outcome).Observe(max(0, at.Sub(due).Seconds()))
}
