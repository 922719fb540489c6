package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/teamtalk-io/teamtalk-operator/internal/buildinfo"
)

func init() {
	metrics.Registry.MustRegister(newBuildInfo(buildinfo.Get()))
}

// newBuildInfo is the metric that tells builds apart: always 1, what counts is in
// its labels.
func newBuildInfo(i buildinfo.Info) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "teamtalk_operator_build_info",
		Help:        "Always 1; the labels say which build of the operator this is.",
		ConstLabels: prometheus.Labels{"version": i.Version, "commit": i.Commit, "go": i.Go},
	}, func() float64 { return 1 })
}
