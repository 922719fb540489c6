package receiver

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Metrics of receivers. Only receivers that exist are in labels: callers cannot
// make series.
var (
	received = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_receiver_notifications_total",
		Help: "Requests to a TeamTalkReceiver, by result: taken, refused (4xx), failed (5xx: sent again by the caller).",
	}, []string{"namespace", "receiver", "result"})
	made = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_receiver_messages_total",
		Help: "What became of notifications and their parts: message (made), duplicate (there before), folded (in somebody's digest).",
	}, []string{"namespace", "receiver", "result"})
	faults = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_receiver_template_faults_total",
		Help: "Texts that the built-in template made because the declared one failed.",
	}, []string{"namespace", "receiver"})
	took = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "teamtalk_receiver_request_duration_seconds",
		Help:    "Time until a request was answered, by HTTP status code.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"code"})
)

func init() { metrics.Registry.MustRegister(received, made, faults, took) }

func count(key types.NamespacedName, a answer) {
	result := "taken"
	switch {
	case a.code >= http.StatusInternalServerError:
		result = "failed"
	case a.code >= http.StatusBadRequest:
		result = "refused"
	}
	received.WithLabelValues(key.Namespace, key.Name, result).Inc()
	made.WithLabelValues(key.Namespace, key.Name, "message").Add(float64(len(a.Messages)))
	made.WithLabelValues(key.Namespace, key.Name, "duplicate").Add(float64(a.Duplicates))
	made.WithLabelValues(key.Namespace, key.Name, "folded").Add(float64(a.Folded))
}

func countFault(key types.NamespacedName) {
	faults.WithLabelValues(key.Namespace, key.Name).Inc()
}

func observe(code int, d time.Duration) {
	took.WithLabelValues(strconv.Itoa(code)).Observe(d.Seconds())
}
