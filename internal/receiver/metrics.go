// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/expression"
)

// Labels of the receiver. Not "namespace", which Prometheus gives to the target itself.
const (
	labelNamespace = "receiver_namespace"
	labelReceiver  = "receiver"
)

// Metrics of receivers. Only receivers that exist are in labels, so that callers cannot create series.
var (
	received = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_receiver_notifications_total",
		Help: "Requests to a TeamTalkReceiver, by result: taken, refused (4xx), failed (5xx: sent again by the caller). " +
			"Those that are refused have a reason: unauthenticated, forbidden, too_large, invalid.",
	}, []string{labelNamespace, labelReceiver, "result", "reason"})
	results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_receiver_messages_total",
		Help: "Messages of notifications, by result: message (created), duplicate (existed before), suppressed (in the " +
			"digest of a recipient). Alerts, or bodies without alerts, that spec.filter drops: filtered.",
	}, []string{labelNamespace, labelReceiver, "result"})
	faults = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_receiver_template_faults_total",
		Help: "Texts that the built-in template made because the declared one failed.",
	}, []string{labelNamespace, labelReceiver})
	expressionFaults = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_receiver_expression_faults_total",
		Help: "Alerts, or bodies without alerts, for which an expression failed: filter, dedupKey or recipients.",
	}, []string{labelNamespace, labelReceiver, "expression"})
	lastError = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "teamtalk_receiver_last_error_timestamp_seconds",
		Help: "Time of the last error that this process recorded in a TeamTalkReceiver's status.lastError. Absent if there " +
			"is none.",
	}, []string{labelNamespace, labelReceiver})
	requestDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "teamtalk_receiver_request_duration_seconds",
		Help:    "Time until a request was answered, by HTTP status code.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"code"})
)

func init() {
	metrics.Registry.MustRegister(received, results, faults, expressionFaults, lastError, requestDuration)
}

// sweepInterval is how often the series of receivers that were deleted are dropped.
const sweepInterval = time.Minute

// counted are the receivers that have series.
var counted = &series{receivers: sets.New[types.NamespacedName]()}

type series struct {
	mu        sync.Mutex
	receivers sets.Set[types.NamespacedName]
}

// edit changes series of a receiver. At first it creates all of its counters with 0: a counter that appears with its
// first event shows no increase.
func (s *series) edit(key types.NamespacedName, edit func(labels prometheus.Labels)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	labels := prometheus.Labels{labelNamespace: key.Namespace, labelReceiver: key.Name}
	if !s.receivers.Has(key) {
		s.receivers.Insert(key)
		for _, result := range []string{"taken", "failed"} {
			received.WithLabelValues(key.Namespace, key.Name, result, "")
		}
		for _, reason := range []string{"unauthenticated", "forbidden", "too_large", "invalid"} {
			received.WithLabelValues(key.Namespace, key.Name, "refused", reason)
		}
		for _, result := range []string{"message", "duplicate", "suppressed", "filtered"} {
			results.WithLabelValues(key.Namespace, key.Name, result)
		}
		for _, name := range []string{expression.Filter, expression.DedupKey, expression.Recipients} {
			expressionFaults.WithLabelValues(key.Namespace, key.Name, name)
		}
		faults.With(labels)
	}
	edit(labels)
}

// end drops the series of a receiver that was deleted.
func (s *series) end(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.receivers.Has(key) {
		return
	}
	s.receivers.Delete(key)
	labels := prometheus.Labels{labelNamespace: key.Namespace, labelReceiver: key.Name}
	received.DeletePartialMatch(labels)
	results.DeletePartialMatch(labels)
	faults.Delete(labels)
	expressionFaults.DeletePartialMatch(labels)
	lastError.Delete(labels)
}

// sweep drops the series of receivers that were deleted and are not posted to any more, until ctx is done.
func (s *series) sweep(ctx context.Context, c client.Reader) {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		s.mu.Lock()
		keys := s.receivers.UnsortedList()
		s.mu.Unlock()
		for _, key := range keys {
			if err := c.Get(ctx, key, &v1alpha1.TeamTalkReceiver{}); apierrors.IsNotFound(err) {
				s.end(key)
			}
		}
	}, sweepInterval)
}

// observeRequest counts a request. Requests that name no receiver have no series, because unauthenticated clients can
// send them.
func observeRequest(key types.NamespacedName, class callerClass, a answer, duration time.Duration) {
	requestDuration.WithLabelValues(strconv.Itoa(a.code)).Observe(duration.Seconds())
	if class == anonymous {
		return
	}
	result, reason := resultOf(a.code)
	counted.edit(key, func(labels prometheus.Labels) {
		received.MustCurryWith(labels).WithLabelValues(result, reason).Inc()
		of := results.MustCurryWith(labels)
		of.WithLabelValues("message").Add(float64(len(a.Messages)))
		of.WithLabelValues("duplicate").Add(float64(a.Duplicates))
		of.WithLabelValues("suppressed").Add(float64(a.Suppressed))
		of.WithLabelValues("filtered").Add(float64(a.Filtered))
	})
}

// resultOf returns the result of a request with this HTTP status, and the reason if it was refused.
func resultOf(code int) (result, reason string) {
	switch {
	case code >= http.StatusInternalServerError:
		return "failed", ""
	case code == http.StatusUnauthorized:
		return "refused", "unauthenticated"
	case code == http.StatusForbidden:
		return "refused", "forbidden"
	case code == http.StatusRequestEntityTooLarge:
		return "refused", "too_large"
	case code >= http.StatusBadRequest:
		return "refused", "invalid"
	default:
		return "taken", ""
	}
}

func countTemplateFault(key types.NamespacedName) {
	counted.edit(key, func(labels prometheus.Labels) { faults.With(labels).Inc() })
}

func countExpressionFault(key types.NamespacedName, fault expression.Fault) {
	counted.edit(key, func(labels prometheus.Labels) {
		expressionFaults.MustCurryWith(labels).WithLabelValues(fault.Expression).Add(float64(fault.Count))
	})
}

// setLastError shows when the last error of a receiver was.
func setLastError(key types.NamespacedName, at time.Time) {
	counted.edit(key, func(labels prometheus.Labels) { lastError.With(labels).Set(float64(at.Unix())) })
}
