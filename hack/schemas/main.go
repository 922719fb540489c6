// SPDX-License-Identifier: Apache-2.0

// Command schemas writes JSON schemas of the kinds that the chart renders, for each supported
// version of Kubernetes, into test/install/testdata/schemas. They come from Go modules: the
// OpenAPI document of k8s.io/kubernetes, and the CRDs of the Prometheus Operator and of the
// Gateway API. It downloads about 200 MB. Run it in the project's root after a change of the
// lists below:
//
//	go run ./hack/schemas
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const folder = "test/install/testdata/schemas"

// versions are the supported versions of Kubernetes, each with the patch release that has the schemas.
var versions = map[string]string{
	"1.32": "v1.32.13", "1.33": "v1.33.13", "1.34": "v1.34.4", "1.35": "v1.35.4", "1.36": "v1.36.3", "1.37": "v1.37.2",
}

// kinds of Kubernetes that the chart and config/ have.
var kinds = []string{
	"ClusterRole", "ClusterRoleBinding", "ConfigMap", "CustomResourceDefinition", "Deployment", "Ingress", "Namespace",
	"NetworkPolicy", "PodDisruptionBudget", "Role", "RoleBinding", "Secret", "Service", "ServiceAccount",
}

// crds are files with other kinds that it renders, by module.
var crds = map[string][]string{
	"sigs.k8s.io/gateway-api@v1.6.0": {"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"},
	"github.com/prometheus-operator/prometheus-operator@v0.85.0": {
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
	},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run() error {
	for minor, patch := range versions {
		dir, err := download("k8s.io/kubernetes@" + patch)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, "api", "openapi-spec", "swagger.json"))
		if err != nil {
			return err
		}
		definitions, err := fromOpenAPI(b)
		if err != nil {
			return fmt.Errorf("kubernetes %s: %w", patch, err)
		}
		if err := write("v"+minor, definitions); err != nil {
			return err
		}
	}
	others := map[string]any{}
	for module, files := range crds {
		dir, err := download(module)
		if err != nil {
			return err
		}
		for _, file := range files {
			b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
			if err != nil {
				return err
			}
			if err := fromCRD(b, others); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return write("crds", others)
}

// download returns the folder of a module, which is in no go.mod.
func download(module string) (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir()
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("download %s: %w", module, err)
	}
	var info struct{ Dir string }
	err = json.Unmarshal(out, &info)
	return info.Dir, err
}

// fromOpenAPI returns the definitions of kinds, and those that they refer to, by name. Those of
// kinds have names as kubeconform has them: kind, group's first part and version.
func fromOpenAPI(b []byte) (map[string]any, error) {
	var doc struct{ Definitions map[string]map[string]any }
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	// Manifests also have numbers, as in "cpu: 1".
	doc.Definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = map[string]any{"type": []any{"number", "string"}}
	found := map[string]any{}
	for name, schema := range doc.Definitions {
		ids, _ := schema["x-kubernetes-group-version-kind"].([]any)
		for _, id := range ids {
			id, _ := id.(map[string]any)
			kind, _ := id["kind"].(string)
			if id["version"] != "v1" || len(ids) > 1 || !slices.Contains(kinds, kind) {
				continue
			}
			group, _ := id["group"].(string)
			found[fileName(kind, group, "v1")] = map[string]any{"$ref": "#/definitions/" + name}
			collect(doc.Definitions, name, found)
		}
	}
	if len(found) <= 2*len(kinds) {
		return nil, errors.New("kinds are missing")
	}
	return found, nil
}

func fileName(kind, group, version string) string {
	group, _, _ = strings.Cut(group, ".")
	if group != "" {
		group += "-"
	}
	return strings.ToLower(kind + "-" + group + version)
}

// collect adds a definition, and those that it refers to.
func collect(all map[string]map[string]any, name string, found map[string]any) {
	if found[name] != nil {
		return
	}
	schema := all[name]
	found[name] = schema
	prune(schema, func(ref string) { collect(all, strings.TrimPrefix(ref, "#/definitions/"), found) })
}

// prune removes texts and extensions from a schema, and forbids unknown fields. It reports references.
func prune(schema map[string]any, refer func(ref string)) {
	if ref, ok := schema["$ref"].(string); ok {
		refer(ref)
	}
	switch {
	case schema["format"] == "int-or-string":
		schema["type"] = []any{"integer", "string"}
	case schema["x-kubernetes-int-or-string"] == true:
		delete(schema, "type")
	}
	if properties, ok := schema["properties"].(map[string]any); ok {
		for _, property := range properties {
			prune(property.(map[string]any), refer)
		}
		if schema["additionalProperties"] == nil && schema["x-kubernetes-preserve-unknown-fields"] != true {
			schema["additionalProperties"] = false
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if next, ok := schema[key].(map[string]any); ok {
			prune(next, refer)
		}
	}
	texts := []string{"description", "default", "format", "example"}
	for key := range schema {
		if strings.HasPrefix(key, "x-kubernetes-") || slices.Contains(texts, key) {
			delete(schema, key)
		}
	}
}

// fromCRD adds the stored version of a CRD's kind.
func fromCRD(b []byte, found map[string]any) error {
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name    string
				Storage bool
				Schema  struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	if err := yaml.Unmarshal(b, &crd); err != nil {
		return err
	}
	for _, version := range crd.Spec.Versions {
		if version.Storage {
			schema := version.Schema.OpenAPIV3Schema
			prune(schema, func(string) {})
			found[fileName(crd.Spec.Names.Kind, crd.Spec.Group, version.Name)] = schema
		}
	}
	return nil
}

// write writes definitions with a line for each, so that versions can be compared.
func write(name string, definitions map[string]any) error {
	names := make([]string, 0, len(definitions))
	for n := range definitions {
		names = append(names, n)
	}
	slices.Sort(names)
	var out bytes.Buffer
	out.WriteString("{\"definitions\": {\n")
	for i, n := range names {
		b, err := json.Marshal(definitions[n])
		if err != nil {
			return err
		}
		if i > 0 {
			out.WriteString(",\n")
		}
		fmt.Fprintf(&out, "%q: %s", n, b)
	}
	out.WriteString("\n}}\n")
	return os.WriteFile(filepath.Join(folder, name+".json"), out.Bytes(), 0o644)
}
