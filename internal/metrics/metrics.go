// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
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

// OutcomeStopped is the outcome of an escalation that was not sent to all recipients only because the alerts were
// resolved, or the message was edited.
const OutcomeStopped = "Stopped"

// Metrics are the operator's metrics.
type Metrics struct {
	sources Sources
	vectors []*prometheus.MetricVec

	// Set at each scrape.
	leader, recipientsNow, conversations, waiting *prometheus.GaugeVec
	connections, desired, keyLoaded, inFlight     *prometheus.GaugeVec

	messages, recipients      *prometheus.CounterVec
	retries, adopted, dropped *prometheus.CounterVec
	statusesRefused           *prometheus.CounterVec
	duration, stored, routed  *prometheus.HistogramVec
	read, doubt, steps        *prometheus.HistogramVec
	readExpired, readDropped  *prometheus.CounterVec
	readDecided               *prometheus.CounterVec
	scheduled, escalations    *prometheus.CounterVec

	// mu serializes scrapes. servers holds the servers of the last scrape.
	mu      sync.Mutex
	servers map[types.NamespacedName]bool
}

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
	m := &Metrics{sources: sources, servers: map[types.NamespacedName]bool{}}
	m.declareGauges()
	m.declareEvents()
	return m
}

func (m *Metrics) declareGauges() {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: Prefix + name, Help: help}, labels)
		m.vectors = append(m.vectors, v.MetricVec)
		return v
	}
	m.leader = gauge("leader", "1 while this process holds the Lease and may send, else 0.")
	m.recipientsNow = gauge("recipients", "Recipients in progress, by state.", "state")
	m.conversations = gauge("conversations", "Conversations with recipients in progress.")
	m.waiting = gauge("conversations_waiting_recipients", "Recipients that are queued in their conversations.")
	m.connections = gauge("connections",
		"Connections that accept requests, by peer: db_proxy or router.", byServer("peer")...)
	m.desired = gauge("connections_desired",
		"Connections in the spec of the TeamTalkServer.", byServer("peer")...)
	m.keyLoaded = gauge("key_loaded", "1 if there is a key to encrypt messages, else 0.", byServer()...)
	m.inFlight = gauge("requests_in_flight",
		"Requests to db_proxy and routers without an answer, including queued ones.", byServer()...)
}

func (m *Metrics) declareEvents() {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: Prefix + name, Help: help}, byServer(labels...))
		m.vectors = append(m.vectors, v.MetricVec)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Name: Prefix + name, Help: help, Buckets: buckets}, byServer(labels...))
		m.vectors = append(m.vectors, v.MetricVec)
		return v
	}
	m.messages = counter("messages_finished_total",
		"Messages whose end is recorded, by outcome and the reason of their Delivered condition.", "outcome", "reason")
	m.recipients = counter("recipients_finished_total",
		"Recipients whose end is recorded, by state and reason.", "state", "reason")
	m.retries = counter("retries_total",
		"Retries, after nothing was stored or there was no answer, by reason.", "reason")
	m.adopted = counter("adopted_total",
		"Messages found in the store by their delivery token, time or content, and not sent again.")
	m.dropped = counter("silent_drops_total",
		"Messages that db_proxy gave an id, and that are proved not to be stored.")
	m.statusesRefused = counter("status_writes_refused_total",
		"Writes of a message's status that the API server has refused. They are retried.")
	m.duration = histogram("message_duration_seconds",
		"From the creation of a message, or its sendAfter, until its end is recorded, by outcome.", longBuckets, "outcome")
	m.stored = histogram("accepted_to_stored_seconds",
		"From the submission of a message until it is proved to be stored, for each recipient.", latencyBuckets)
	m.routed = histogram("stored_to_routed_seconds",
		"From the store until a router accepted the message, for each recipient.", latencyBuckets)
	m.read = histogram("routed_to_read_seconds",
		"From the router until the user, or the first member of the group other than the sender, read it.",
		readBuckets, "recipient_type")
	m.readExpired = counter("read_receipts_expired_total",
		"Recipients that are no longer tracked without having read the message, by reason: limit or age.", "reason")
	m.readDropped = counter("read_receipts_dropped_total",
		"Read notifies that were dropped because the queue was full.")
	m.readDecided = counter("read_policies_decided_total",
		"Messages with a readPolicy that was met, or cannot be met any more, by the reason of their Read condition.",
		"reason")
	m.escalations = counter("escalations_finished_total",
		"Escalations of messages that were not read, by outcome.", "outcome")
	m.scheduled = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: Prefix + "scheduled_times_total",
		Help: "Scheduled times of TeamTalkSchedules, by result: created, missed or failed. A refused message counts as " +
			"failed at each retry, consecutive missed times as one.",
	}, []string{"result"})
	m.vectors = append(m.vectors, m.scheduled.MetricVec)
	for _, result := range []string{"created", "missed", "failed"} {
		m.scheduled.WithLabelValues(result)
	}
	m.doubt = histogram("doubt_duration_seconds",
		"How long recipients were in doubt whether their message is stored, by the result.", longBuckets, "end")
	m.steps = histogram("step_duration_seconds",
		"Duration of the steps of a delivery, including the queue for db_proxy.", stepBuckets, "step")
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

// StatusRefused counts a write of a status that the API server has refused.
func (m *Metrics) StatusRefused(server types.NamespacedName) {
	m.statusesRefused.WithLabelValues(server.Namespace, server.Name).Inc()
}

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

// ReadDecided counts a message whose readPolicy is not due any more, by the reason of its Read condition.
func (m *Metrics) ReadDecided(server types.NamespacedName, reason string) {
	m.readDecided.WithLabelValues(server.Namespace, server.Name, reason).Inc()
}

// Scheduled counts a scheduled time of a TeamTalkSchedule by its result.
func (m *Metrics) Scheduled(result string) { m.scheduled.WithLabelValues(result).Inc() }

// recipientType returns user or group.
func recipientType(t v1alpha1.RecipientType) string { return strings.ToLower(string(t)) }

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

// EscalationFinished counts an escalation whose end was recorded. One that was stopped has not failed.
func (m *Metrics) EscalationFinished(server types.NamespacedName, escalation *v1alpha1.TeamTalkMessage) {
	isStopped := func(r v1alpha1.RecipientStatus) bool {
		return r.Reason == v1alpha1.ReasonAlertResolved || r.Reason == v1alpha1.ReasonSuperseded
	}
	outcome, _ := Outcome(escalation)
	hasFailed := func(r v1alpha1.RecipientStatus) bool { return r.State == v1alpha1.StateFailed && !isStopped(r) }
	recipients := escalation.Status.Recipients
	if slices.ContainsFunc(recipients, isStopped) && !slices.ContainsFunc(recipients, hasFailed) {
		outcome = OutcomeStopped
	}
	m.escalations.WithLabelValues(server.Namespace, server.Name, outcome).Inc()
}

// Finished counts a message whose end was recorded at the time.
func (m *Metrics) Finished(server types.NamespacedName, message *v1alpha1.TeamTalkMessage, at time.Time) {
	outcome, reason := Outcome(message)
	if outcome == "" {
		return
	}
	m.messages.WithLabelValues(server.Namespace, server.Name, outcome, reason).Inc()
	due := message.Begins()
	if at := message.ScheduledFor(); at.After(due) {
		due = at
	}
	// The clock of the API server may be ahead.
	m.duration.WithLabelValues(server.Namespace, server.Name, outcome).Observe(max(0, at.Sub(due).Seconds()))
}
