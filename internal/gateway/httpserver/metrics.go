package httpserver

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// labelOperation is what was asked for. Not "endpoint", which Prometheus gives to the
// target itself.
const labelOperation = "operation"

var (
	requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_gateway_requests_total",
		Help: "Requests answered, by operation, HTTP status and the interface's own error code (empty where it has none).",
	}, []string{labelOperation, "status", "error_code"})
	durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "teamtalk_gateway_request_duration_seconds",
		Help:    "Time from a request's headers to its answer, by operation.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{labelOperation})
	inFlight = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "teamtalk_gateway_requests_in_flight",
		Help: "Requests being handled, those that are being refused included.",
	})
)

func init() { metrics.Registry.MustRegister(requests, durations, inFlight) }
