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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Labels of the receiver. Not "namespace", which Prometheus gives to the target itself.
const (
	labelNamespace = "receiver_namespace"
	labelReceiver  = "receiver"
)

// Metrics of receivers. Only receivers that exist are in labels: callers cannot
// make series.
var (
	received = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_receiver_notifications_total",
		Help: "Requests to a TeamTalkReceiver, by result: taken, refused (4xx), failed (5xx: sent again by the caller).",
	}, []string{labelNamespace, labelReceiver, "result"})
	made = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_receiver_messages_total",
		Help: "What became of notifications and their parts: message (made), duplicate (there before), folded (in " +
			"somebody's digest).",
	}, []string{labelNamespace, labelReceiver, "result"})
	faults = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_receiver_template_faults_total",
		Help: "Texts that the built-in template made because the declared one failed.",
	}, []string{labelNamespace, labelReceiver})
	lastError = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "teamtalk_receiver_last_error_timestamp_seconds",
		Help: "When this process last had something to say in a TeamTalkReceiver's status.lastError; absent where it had " +
			"not.",
	}, []string{labelNamespace, labelReceiver})
	took = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "teamtalk_receiver_request_duration_seconds",
		Help:    "Time until a request was answered, by HTTP status code.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"code"})
)

func init() { metrics.Registry.MustRegister(received, made, faults, lastError, took) }

// sweepInterval is how often it is looked whether receivers that have series are there
// yet: those that nobody posts to any more.
const sweepInterval = time.Minute

// counted are the receivers that have series.
var counted = &series{of: map[types.NamespacedName]bool{}}

type series struct {
	mu sync.Mutex
	of map[types.NamespacedName]bool
}

// edit changes series of a receiver. All of its counters are there from the first one
// on, as 0: one that appears with its first event shows no increase.
func (s *series) edit(key types.NamespacedName, edit func(labels ...string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.of[key] {
		s.of[key] = true
		for _, result := range []string{"taken", "refused", "failed"} {
			received.WithLabelValues(key.Namespace, key.Name, result)
		}
		for _, result := range []string{"message", "duplicate", "folded"} {
			made.WithLabelValues(key.Namespace, key.Name, result)
		}
		faults.WithLabelValues(key.Namespace, key.Name)
	}
	edit(key.Namespace, key.Name)
}

// end drops what was counted for a receiver that is no more.
func (s *series) end(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.of[key] {
		return
	}
	delete(s.of, key)
	its := prometheus.Labels{labelNamespace: key.Namespace, labelReceiver: key.Name}
	for _, vector := range []interface{ DeletePartialMatch(prometheus.Labels) int }{received, made, faults, lastError} {
		vector.DeletePartialMatch(its)
	}
}

// sweep looks every now and then which receivers are no more, until ctx is done.
func (s *series) sweep(ctx context.Context, c client.Reader) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, key := range s.keys() {
			if err := c.Get(ctx, key, &v1alpha1.TeamTalkReceiver{}); apierrors.IsNotFound(err) {
				s.end(key)
			}
		}
	}
}

func (s *series) keys() []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]types.NamespacedName, 0, len(s.of))
	for key := range s.of {
		keys = append(keys, key)
	}
	return keys
}

func count(key types.NamespacedName, a answer) {
	result := "taken"
	switch {
	case a.code >= http.StatusInternalServerError:
		result = "failed"
	case a.code >= http.StatusBadRequest:
		result = "refused"
	}
	counted.edit(key, func(its ...string) {
		received.WithLabelValues(append(its, result)...).Inc()
		made.WithLabelValues(append(its, "message")...).Add(float64(len(a.Messages)))
		made.WithLabelValues(append(its, "duplicate")...).Add(float64(a.Duplicates))
		made.WithLabelValues(append(its, "folded")...).Add(float64(a.Folded))
	})
}

func countFault(key types.NamespacedName) {
	counted.edit(key, func(its ...string) { faults.WithLabelValues(its...).Inc() })
}

// failedAt shows when a receiver's last error was.
func failedAt(key types.NamespacedName, at time.Time) {
	counted.edit(key, func(its ...string) { lastError.WithLabelValues(its...).Set(float64(at.Unix())) })
}

func observe(code int, d time.Duration) {
	took.WithLabelValues(strconv.Itoa(code)).Observe(d.Seconds())
}
