// Package metrics counts and measures what the operator does, for Prometheus. It
// listens to those who do it: they know nothing of it. docs/operations.md says
// what each metric means.
//
// Labels are bounded: TeamTalkServers that exist, and constants. No metric bears
// an id of TeamTalk's, a message's name, or text.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// Prefix is what the names of all metrics of the operator's own begin with.
const Prefix = "teamtalk_operator_"

// Labels of the TeamTalkServer that something goes through. Not "namespace" and
// "service", which Prometheus gives to the target itself.
const (
	labelNamespace = "server_namespace"
	labelServer    = "server"
)

// OutcomeFailed is the outcome of a message that nobody is known to have got; the
// others are reasons of the API.
const OutcomeFailed = "Failed"

// Metrics are all metrics of the operator's own, as one prometheus.Collector.
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
	// Of what one db_proxy or router does.
	stepBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20}
	// Of ways that are short unless something is wrong.
	wayBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
	// Of what takes as long as something is wrong; TeamTalk's times are whole seconds.
	longBuckets = []float64{1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 86400}
	// Of what people do, who may have the conversation open or come back tomorrow.
	readBuckets = []float64{.25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400}
)

// New returns the metrics; what is under way is read from sources whenever
// Prometheus asks.
func New(sources Sources) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: Prefix + name, Help: help}, byServer(labels...))
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: Prefix + name, Help: help, Buckets: buckets}, byServer(labels...))
	}
	return &Metrics{
		sources: sources,
		messages: counter("messages_finished_total",
			"Messages whose end is on record, by outcome and the reason of their Delivered condition.", "outcome", "reason"),
		recipients: counter("recipients_finished_total",
			"Recipients whose end is on record, by state and reason.", "state", "reason"),
		retries: counter("retries_total",
			"Tries again, after nothing was stored or nothing could be asked, by reason.", "reason"),
		adopted: counter("adopted_total",
			"Messages found in the store by their delivery token, time or content, and not sent again."),
		dropped: counter("silent_drops_total",
			"Messages that db_proxy gave an id for, and that were proved not to be stored."),
		duration: histogram("message_duration_seconds",
			"From a message's creation, or its sendAfter, until its end was on record, by outcome.", longBuckets, "outcome"),
		stored: histogram("accepted_to_stored_seconds",
			"From the engine's taking a message on until the store was seen to hold it, for each recipient.", wayBuckets),
		routed: histogram("stored_to_routed_seconds",
			"From then until a router took it, for each recipient.", wayBuckets),
		read: histogram("routed_to_read_seconds",
			"From then until the user, or the first of the group but the sender, had read it.", readBuckets, "recipient_type"),
		readExpired: counter("read_receipts_expired_total",
			"Recipients that are no longer waited for to read: crowded out by newer ones, or after a day.", "reason"),
		readDropped: counter("read_receipts_dropped_total",
			"What routers said of reading and was not looked at, as too much came at once."),
		doubt: histogram("doubt_duration_seconds",
			"How long recipients were in doubt before it was known whether the store holds the message, by what was found.", longBuckets, "end"),
		steps: histogram("step_duration_seconds",
			"How long the steps of a delivery take, waiting for their turn at db_proxy included.", stepBuckets, "step"),
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

// RecipientsEnded counts recipients whose end is on record now.
func (m *Metrics) RecipientsEnded(server types.NamespacedName, ended []v1alpha1.RecipientStatus) {
	for _, r := range ended {
		reason := r.Reason
		if reason == "" {
			reason = v1alpha1.ReasonDelivered
		}
		m.recipients.WithLabelValues(server.Namespace, server.Name, string(r.State), reason).Inc()
	}
}

// Outcome returns how a message has ended, and the reason of its Delivered
// condition; "": it has not.
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

// Finished counts a message whose end is on record since the time given.
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
	// The API server's clock may be ahead of ours.
	m.duration.WithLabelValues(server.Namespace, server.Name, outcome).Observe(max(0, at.Sub(due).Seconds()))
}
