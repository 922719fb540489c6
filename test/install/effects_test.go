// SPDX-License-Identifier: Apache-2.0

package install

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// elsewhere are values that other tests change: everything.yaml leaves them as they are.
var elsewhere = []string{
	"access.configMaps.names", "access.configMaps.namespaces", "access.ownNamespace", "crds.install", "crds.keep", "dbProxy.maxGroupInFlight",
	"dbProxy.maxInFlight", "drainTimeout", "fullnameOverride", "gateway.affinity", "gateway.dnsConfig", "gateway.dnsPolicy",
	"gateway.hostAliases", "gateway.inOperator", "gateway.ingress.path", "gateway.ingress.pathType", "gateway.mode",
	"gateway.podAnnotations", "gateway.podSecurityContext", "gateway.priorityClassName", "gateway.replicas", "gateway.resources.limits.memory",
	"gateway.resources.requests.cpu", "gateway.resources.requests.memory", "gateway.secrets", "gateway.securityContext",
	"gateway.startupProbe", "gateway.topologySpreadConstraints", "log.format", "log.level", "metrics.dashboard.labels.grafana_dashboard",
	"metrics.dashboard.namespace", "metrics.enabled", "metrics.podMonitor.interval", "metrics.podMonitor.tokenSecret.key",
	"metrics.serviceMonitor.enabled", "metrics.serviceMonitor.interval", "metrics.serviceMonitor.labels",
	"metrics.serviceMonitor.metricRelabelings", "metrics.serviceMonitor.relabelings", "nameOverride", "namespaceOverride",
	"networkPolicy.enabled", "networkPolicy.gatewayEgress", "networkPolicy.metricsFrom", "people.roles", "podDisruptionBudget.enabled",
	"podDisruptionBudget.maxUnavailable", "podSecurityContext.runAsNonRoot", "podSecurityContext.seccompProfile.type", "replicas",
	"resources.limits.memory", "resources.requests.cpu", "resources.requests.memory", "securityContext.allowPrivilegeEscalation",
	"securityContext.capabilities.drop", "securityContext.readOnlyRootFilesystem", "server.create", "server.name", "server.spec",
	"serviceAccount.create", "serviceAccount.name", "terminationGracePeriodSeconds",
}

// TestEachValueHasAnEffect renders everything.yaml without one value after another: the objects must differ, or the
// chart must refuse the rest.
func TestEachValueHasAnEffect(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(everything())
	must(t, err)
	var values map[string]any
	must(t, yaml.Unmarshal(b, &values))
	render := func(t *testing.T, values map[string]any) (string, error) {
		t.Helper()
		b, err := yaml.Marshal(values)
		must(t, err)
		file := filepath.Join(t.TempDir(), "values.yaml")
		must(t, os.WriteFile(file, b, 0o600))
		return helm(t, "template", name, chartDir(), "--namespace", namespace, "--values", file)
	}
	all, err := render(t, values)
	must(t, err)

	readme, err := os.ReadFile(filepath.Join(chartDir(), "README.md"))
	must(t, err)
	unused := map[string]bool{}
	for _, path := range elsewhere {
		unused[path] = true
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Za-z_.]+)` \\|").FindAllStringSubmatch(string(readme), -1) {
		path := strings.Split(row[1], ".")
		if _, isSet, _ := unstructured.NestedFieldNoCopy(values, path...); !isSet {
			if !unused[row[1]] {
				t.Errorf("everything.yaml does not set %s: set it, or test it elsewhere", row[1])
			}
			delete(unused, row[1])
			continue
		}
		t.Run(row[1], func(t *testing.T) {
			t.Parallel()
			rest := (&unstructured.Unstructured{Object: values}).DeepCopy().Object
			unstructured.RemoveNestedField(rest, path...)
			if without, err := render(t, rest); err == nil && without == all {
				t.Error("the value has no effect")
			}
		})
	}
	if len(unused) > 0 {
		t.Errorf("these are no values, or everything.yaml sets them: %q", slices.Sorted(maps.Keys(unused)))
	}
}
