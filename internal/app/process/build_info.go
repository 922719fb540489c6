// SPDX-License-Identifier: Apache-2.0

package process

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/teamtalk-io/teamtalk-operator/internal/buildinfo"
)

func init() {
	metrics.Registry.MustRegister(newBuildInfo(buildinfo.Get()))
}

func newBuildInfo(i buildinfo.Info) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "teamtalk_operator_build_info",
		Help:        "Always 1. The labels identify the build.",
		ConstLabels: prometheus.Labels{"version": i.Version, "commit": i.Commit, "go": i.Go},
	}, func() float64 { return 1 })
}
