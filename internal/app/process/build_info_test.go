// SPDX-License-Identifier: Apache-2.0

package process

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/teamtalk-io/teamtalk-operator/internal/buildinfo"
)

func TestBuildInfo(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newBuildInfo(buildinfo.Info{Version: "1.2.3", Commit: "abc", Go: "go1.26"}))
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("gathered %v, %v", families, err)
	}
	labels := map[string]string{}
	for _, l := range families[0].GetMetric()[0].GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	if labels["version"] != "1.2.3" || labels["commit"] != "abc" || labels["go"] != "go1.26" {
		t.Errorf("labels %v", labels)
	}
	registered, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(registered, func(f *dto.MetricFamily) bool { return f.GetName() == "teamtalk_operator_build_info" }) {
		t.Error("it is not among the operator's metrics")
	}
}
