// SPDX-License-Identifier: Apache-2.0

package health

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const root = "../../.."

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(b, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestHealthChecks runs Argo CD's test files of the health checks. Operators have written their objects.
func TestHealthChecks(t *testing.T) {
	t.Parallel()
	for kind := range Want {
		dir := filepath.Join(root, Customizations, "teamtalk.io", kind)
		var file struct {
			Tests []struct {
				HealthStatus struct{ Status, Message string }
				InputPath    string
			}
		}
		readYAML(t, filepath.Join(dir, "health_test.yaml"), &file)
		inputs, err := filepath.Glob(filepath.Join(dir, "testdata", "*.yaml"))
		if err != nil || len(inputs) != len(file.Tests) || len(inputs) < 3 {
			t.Errorf("%s: %d objects, %d tests, %v", kind, len(inputs), len(file.Tests), err)
		}
		for _, tc := range file.Tests {
			t.Run(kind+"/"+tc.InputPath, func(t *testing.T) {
				t.Parallel()
				o := &unstructured.Unstructured{}
				b, err := os.ReadFile(filepath.Join(dir, tc.InputPath))
				if err != nil {
					t.Fatal(err)
				}
				j, err := yaml.YAMLToJSON(b)
				if err != nil {
					t.Fatal(err)
				}
				if err := o.UnmarshalJSON(j); err != nil {
					t.Fatal(err)
				}
				status, message, err := ArgoCD(filepath.Join(dir, "health.lua"), o)
				if err != nil || status != tc.HealthStatus.Status || message != tc.HealthStatus.Message {
					t.Errorf("got %q, %q, %v; want %+v", status, message, err, tc.HealthStatus)
				}
			})
		}
	}
}

// TestArgoCDConfigMap: the kustomization has each health check under the key that Argo CD reads.
func TestArgoCDConfigMap(t *testing.T) {
	t.Parallel()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).
		Run(filesys.MakeFsOnDisk(), filepath.Join(root, "config", "argocd"))
	if err != nil {
		t.Fatal(err)
	}
	if resources.Size() != 1 || resources.Resources()[0].GetName() != "argocd-cm" {
		t.Fatalf("resources %v", resources.AllIds())
	}
	data := resources.Resources()[0].GetDataMap()
	for kind := range Want {
		script, err := os.ReadFile(filepath.Join(root, Customizations, "teamtalk.io", kind, "health.lua"))
		if err != nil {
			t.Fatal(err)
		}
		key := "resource.customizations.health.teamtalk.io_" + kind
		if strings.TrimSpace(data[key]) != strings.TrimSpace(string(script)) {
			t.Errorf("%s is %q", key, data[key])
		}
	}
	if len(data) != len(Want) {
		t.Errorf("%d keys, want %d", len(data), len(Want))
	}
}
