// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// labelOperation is the route's name. It is not called "endpoint", which Prometheus sets for the target.
const labelOperation = "operation"

var (
	requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teamtalk_gateway_requests_total",
		Help: "Answered requests, by operation, HTTP status and the operation's own error code (empty if it has none).",
	}, []string{labelOperation, "status", "error_code"})
	durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "teamtalk_gateway_request_duration_seconds",
		Help:    "Time from the headers of a request to its answer, by operation.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{labelOperation})
	inFlight = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "teamtalk_gateway_requests_in_flight",
		Help: "Requests in flight, including those that are being rejected.",
	})
)

func init() { metrics.Registry.MustRegister(requests, durations, inFlight) }
