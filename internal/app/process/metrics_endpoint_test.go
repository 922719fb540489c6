// SPDX-License-Identifier: Apache-2.0

package process

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/teamtalk-io/teamtalk-operator/internal/buildinfo"
)

func TestBuildInfo(t *testing.T) {
	const name = "teamtalk_operator_build_info"
	want := `
# HELP ` + name + ` Always 1. The labels identify the build.
# TYPE ` + name + ` gauge
` + name + `{commit="abc",go="go1.26",version="1.2.3"} 1
`
	info := newBuildInfo(buildinfo.Info{Version: "1.2.3", Commit: "abc", Go: "go1.26"})
	if err := testutil.CollectAndCompare(info, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(metrics.Registry, name); n != 1 || err != nil {
		t.Errorf("%d of them among the operator's metrics, %v", n, err)
	}
}
