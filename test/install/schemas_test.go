// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// kubernetesVersions returns the supported versions, such as 1.32, of which testdata has schemas.
func kubernetesVersions(t *testing.T) (versions []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "schemas", "v*.json"))
	must(t, err)
	for _, file := range files {
		versions = append(versions, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "v"), ".json"))
	}
	if len(versions) < 6 {
		t.Fatalf("there are schemas of %q alone", versions)
	}
	return versions
}

// TestSchemas compares what the chart renders, and config/, with the schemas of each supported version of Kubernetes,
// and of the CRDs of others. kubeconform refuses unknown fields.
func TestSchemas(t *testing.T) {
	t.Parallel()
	kubeconform, err := framework.Tool(t.Context(), "", "kubeconform")
	must(t, err)
	rendered := map[string]string{}
	for what, args := range map[string][]string{
		"default":    nil,
		"everything": {"--values", everything()},
		"monitored":  {"--set", "gateway.enabled=true,metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true"},
		"in one pod": {"--set", "gateway.enabled=true,gateway.inOperator=true,gateway.ingress.enabled=true"},
		"direct":     {"--set", "gateway.enabled=true,gateway.mode=direct,gateway.replicas=1,gateway.service.type=NodePort"},
	} {
		rendered["the chart: "+what], err = helm(t, append([]string{"template", name, chartDir(), "--namespace", namespace}, args...)...)
		must(t, err)
	}
	for _, folder := range []string{"default", "gateway", "gateway-direct", "prometheus"} {
		rendered["config/"+folder] = encode(t, kustomize(t, folder))
	}
	rendered["wrong"] = strings.Replace(rendered["the chart: default"], "enableServiceLinks: false", "enableServiceLink: false", 1)
	for _, version := range kubernetesVersions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			schemas := t.TempDir()
			expandSchemas(t, schemas, "v"+version+".json")
			expandSchemas(t, schemas, "crds.json")
			for what, manifests := range rendered {
				cmd := exec.CommandContext(t.Context(), kubeconform, "-strict", "-kubernetes-version", version+".0", "-output", "json",
					"-schema-location", filepath.Join(schemas, "{{.ResourceKind}}{{.KindSuffix}}.json"))
				cmd.Stdin = strings.NewReader(manifests)
				out, err := cmd.CombinedOutput()
				if what == "wrong" {
					if err == nil || !strings.Contains(string(out), "enableServiceLink") {
						t.Errorf("a wrong field is not found: %s", out)
					}
				} else if err != nil {
					t.Errorf("%s: %s", what, out)
				}
			}
		})
	}
}

// expandSchemas writes a file for each definition of a file of testdata, as kubeconform reads them.
func expandSchemas(t *testing.T, dir, file string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "schemas", file))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, file), b, 0o600))
	var schemas struct{ Definitions map[string]json.RawMessage }
	must(t, json.Unmarshal(b, &schemas))
	for definition := range schemas.Definitions {
		if strings.Contains(definition, ".") {
			continue // what kinds refer to
		}
		text := fmt.Sprintf(`{"$ref": "%s#/definitions/%s"}`, file, definition)
		must(t, os.WriteFile(filepath.Join(dir, definition+".json"), []byte(text), 0o600))
	}
}

func encode(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	var out strings.Builder
	for _, o := range objects {
		b, err := o.MarshalJSON()
		must(t, err)
		out.WriteString("---\n" + string(b) + "\n")
	}
	return out.String()
}

// TestHelmVersions checks that Helm 3 renders the same as Helm 4, for each supported version of Kubernetes, and that
// both refuse older ones.
func TestHelmVersions(t *testing.T) {
	t.Parallel()
	helm3, err := framework.Tool(t.Context(), "helm3", "helm")
	must(t, err)
	helms := map[string]string{"Helm 3": helm3, "Helm 4": shared.helm}
	render := func(t *testing.T, helm, version string, args ...string) (string, error) {
		t.Helper()
		return framework.RunHelm(t.Context(), helm, t.TempDir(), append([]string{
			"template", name, chartDir(), "--namespace", namespace, "--kube-version", version}, args...)...)
	}
	for what, args := range map[string][]string{"default": nil, "everything": {"--values", everything()}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			oldest := kubernetesVersions(t)[0]
			want, err := render(t, shared.helm, oldest, args...)
			must(t, err)
			objects := func(text string) map[string]*unstructured.Unstructured {
				decoded, err := framework.Decode([]byte(text))
				must(t, err)
				return byID(decoded)
			}
			for _, version := range kubernetesVersions(t) {
				for which, helm := range helms {
					got, err := render(t, helm, version, args...)
					must(t, err)
					if diff := cmp.Diff(objects(want), objects(got)); diff != "" {
						t.Errorf("%s for Kubernetes %s renders something else:\n%s", which, version, diff)
					}
				}
			}
		})
	}
	for which, helm := range helms {
		if _, err := render(t, helm, "1.31.9"); err == nil || !strings.Contains(err.Error(), "kubeVersion") {
			t.Errorf("%s installs on an older Kubernetes: %v", which, err)
		}
		must(t, lint(t, helm))
		must(t, lint(t, helm, "--values", everything()))
	}
}

func lint(t *testing.T, helm string, args ...string) error {
	t.Helper()
	_, err := framework.RunHelm(t.Context(), helm, t.TempDir(), append([]string{"lint", "--strict", "--kube-version", "1.37.0", chartDir()}, args...)...)
	return err
}

// TestEverythingIsAccepted applies what the chart renders of all values to an API server, whose validation knows more
// than schemas, in a namespace with restricted Pod Security.
func TestEverythingIsAccepted(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.apply(kustomize(t, "default")...)
	c.apply(kustomize(t, "gateway")...)
	c.createNamespace("chat")
	c.createNamespace("ops")
	objects, err := template(t, name, "--values", everything())
	must(t, err)
	accepted := 0
	for _, o := range objects {
		if group := o.GroupVersionKind().Group; strings.HasPrefix(group, "monitoring.") || strings.HasPrefix(group, "gateway.") {
			continue // whose CRDs the cluster does not have
		}
		if namespaced := o.GetNamespace() == "" && o.GetKind() == "ConfigMap"; namespaced {
			o.SetNamespace(namespace) // as helm does
		}
		err := c.Cluster.Admin.Create(t.Context(), o.DeepCopy(), client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
		accepted++
		if o.GetKind() != "Deployment" {
			continue
		}
		template, _, err := unstructured.NestedMap(o.Object, "spec", "template")
		must(t, err)
		pod := &unstructured.Unstructured{Object: template}
		pod.SetAPIVersion("v1")
		pod.SetKind("Pod")
		pod.SetName(o.GetName())
		pod.SetNamespace(namespace)
		unstructured.RemoveNestedField(pod.Object, "spec", "runtimeClassName") // which would have to exist
		if err := c.Cluster.Admin.Create(t.Context(), pod, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
			t.Errorf("a pod of %s: %v", o.GetName(), err)
		}
	}
	if accepted < 30 {
		t.Errorf("the chart renders %d objects", accepted)
	}
}
