// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestChartIsConfigDefault checks that the chart renders the same objects as config/default,
// config/gateway or config/gateway-direct, and config/prometheus.
func TestChartIsConfigDefault(t *testing.T) {
	t.Parallel()
	for folder, values := range map[string]string{
		"gateway": "gateway.enabled=true", "gateway-direct": "gateway.enabled=true,gateway.mode=direct,gateway.replicas=1",
	} {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			rendered, err := template(t, name, "--set", "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,"+values)
			must(t, err)
			checkEqual(t, byID(slices.Concat(kustomize(t, "default"), kustomize(t, folder), kustomize(t, "prometheus"))), byID(rendered))
		})
	}
}

// checkEqual checks that the chart renders the objects of config, but for Helm's labels and annotations.
func checkEqual(t *testing.T, want, got map[string]*unstructured.Unstructured) {
	t.Helper()
	// Helm creates the namespace itself, without the labels of config/default.
	delete(want, "Namespace//"+namespace)
	for id, o := range got {
		labels := o.GetLabels()
		for _, label := range []string{"app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"} {
			if labels[label] == "" {
				t.Errorf("%s lacks the label %s", id, label)
			}
			delete(labels, label)
		}
		o.SetLabels(labels)
		if o.GetKind() == "CustomResourceDefinition" {
			annotations := o.GetAnnotations()
			if annotations["helm.sh/resource-policy"] != "keep" {
				t.Errorf("%s would be deleted with all messages when the release is uninstalled", id)
			}
			delete(annotations, "helm.sh/resource-policy")
			o.SetAnnotations(annotations)
		}
	}
	if diff := cmp.Diff(want, got, cmp.Transformer("content", func(o *unstructured.Unstructured) map[string]any { return o.Object })); diff != "" {
		t.Errorf("config (-) and the chart (+) differ; after a change in config/ run \"make chart\":\n%s", diff)
	}
}

func byID(objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	m := map[string]*unstructured.Unstructured{}
	for _, o := range objects {
		m[o.GetKind()+"/"+o.GetNamespace()+"/"+o.GetName()] = o
	}
	return m
}

// TestEveryKindHasRoles checks that each kind has roles for people.
func TestEveryKindHasRoles(t *testing.T) {
	t.Parallel()
	objects := kustomize(t, "default")
	crds := 0
	for _, crd := range objects {
		if crd.GetKind() != "CustomResourceDefinition" {
			continue
		}
		crds++
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "singular")
		for role, into := range map[string]string{"viewer": "view", "editor": "edit"} {
			r := findObject(t, objects, "ClusterRole", "", name+"-"+kind+"-"+role)
			isPart := r.GetLabels()["rbac.authorization.k8s.io/aggregate-to-"+into] == "true"
			if want := kind != "teamtalkserver" || role != "editor"; isPart != want {
				t.Errorf("%s is part of the role %s: %t, want %t", r.GetName(), into, isPart, want)
			}
		}
	}
	if files, err := filepath.Glob(filepath.Join(shared.root, "config", "crd", "bases", "*.yaml")); err != nil || crds != len(files) {
		t.Errorf("config/default installs %d CRDs of %d, %v: see config/crd/kustomization.yaml", crds, len(files), err)
	}
}

// TestNoRightToAllSecrets: no role grants all Secrets or ConfigMaps, as a marker without roleName would.
func TestNoRightToAllSecrets(t *testing.T) {
	t.Parallel()
	everywhere := 0
	objects := slices.Concat(kustomize(t, "default"), kustomize(t, "gateway-direct"))
	for _, b := range objects {
		if b.GetKind() != "ClusterRoleBinding" {
			continue
		}
		everywhere++
		role, _, _ := unstructured.NestedString(b.Object, "roleRef", "name")
		if strings.HasPrefix(role, "system:") {
			continue // Kubernetes' own
		}
		rules, _, _ := unstructured.NestedSlice(findObject(t, objects, "ClusterRole", "", role).Object, "rules")
		for _, rule := range rules {
			resources, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), "resources")
			for _, no := range []string{"secrets", "configmaps", "*"} {
				if slices.Contains(resources, no) {
					t.Errorf("%s grants %s everywhere: set roleName in the marker", role, no)
				}
			}
		}
	}
	if everywhere == 0 {
		t.Error("there is no ClusterRoleBinding")
	}
}

// TestChartFiles checks that the files that "make chart" writes are up to date.
func TestChartFiles(t *testing.T) {
	t.Parallel()
	for dir, patterns := range map[string][]string{
		"crds":       {"config/crd/bases/*.yaml"},
		"dashboards": {"dashboards/*.json"},
		"prometheus": {"config/prometheus/prometheusrule.yaml"},
		"rbac":       {"config/rbac/role.yaml", "config/rbac/*_role.yaml", "config/rbac/*_roles.yaml"},
	} {
		want := map[string]string{}
		for _, pattern := range patterns {
			readFiles(t, want, filepath.Join(shared.root, pattern))
		}
		got := map[string]string{}
		readFiles(t, got, filepath.Join(chartDir(), "files", dir, "*"))
		if len(want) == 0 || !cmp.Equal(want, got) {
			t.Errorf("files/%s of the chart is not up to date: run \"make chart\"\n%s", dir, cmp.Diff(want, got))
		}
	}
}

// readFiles adds the contents of the matching files by base name.
func readFiles(t *testing.T, into map[string]string, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	must(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		into[filepath.Base(file)] = string(b)
	}
}
