// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// nameReferences are the fields of config/name-references, by kind of the referrer, with the kind that they refer to.
func nameReferences(t testing.TB) map[string]map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared.root, "config", "name-references", "name_references.yaml"))
	must(t, err)
	var file struct {
		NameReference []struct {
			Kind, Version string
			FieldSpecs    []struct{ Kind, Path string }
		}
	}
	must(t, yaml.UnmarshalStrict(b, &file))
	fields := map[string]map[string]string{}
	for _, r := range file.NameReference {
		for _, f := range r.FieldSpecs {
			if fields[f.Kind] == nil {
				fields[f.Kind] = map[string]string{}
			}
			fields[f.Kind][f.Path] = r.Kind
		}
	}
	return fields
}

// TestNameReferences renders what generates and prefixes names: each reference has the name of what it refers to.
func TestNameReferences(t *testing.T) {
	t.Parallel()
	objects, err := framework.Kustomize(filepath.Join("testdata", "name-references", "overlay"))
	must(t, err)
	names := map[string][]string{}
	for _, o := range objects {
		names[o.GetKind()] = append(names[o.GetKind()], o.GetName())
		if !strings.HasPrefix(o.GetName(), "prod-") {
			t.Errorf("%s %s has no prefix", o.GetKind(), o.GetName())
		}
	}
	generated := regexp.MustCompile(`^prod-[a-z]+-[a-z0-9]{10}$`)
	seen := map[string]bool{}
	for kind, fields := range nameReferences(t) {
		for path, to := range fields {
			for _, o := range objects {
				got, found, err := unstructured.NestedString(o.Object, strings.Split(path, "/")...)
				must(t, err)
				switch {
				case o.GetKind() != kind || !found:
					continue
				case o.GetName() == "prod-elsewhere":
					if got != "shared" {
						t.Errorf("the reference to a server elsewhere became %q", got)
					}
					continue
				case !slices.Contains(names[to], got):
					t.Errorf("%s of %s is %q; there are %q", path, o.GetName(), got, names[to])
				case to != "TeamTalkServer" && !generated.MatchString(got):
					t.Errorf("%s of %s is %q, which is no generated name", path, o.GetName(), got)
				}
				seen[to] = true
			}
		}
	}
	for _, to := range []string{"ConfigMap", "Secret", "TeamTalkServer"} {
		if !seen[to] {
			t.Errorf("nothing refers to a %s", to)
		}
	}
}

// TestNameReferencesAreComplete: kustomize knows each reference that a kind has.
func TestNameReferencesAreComplete(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(shared.root, "config", "crd", "bases", "*.yaml"))
	must(t, err)
	known, found := nameReferences(t), 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		must(t, yaml.UnmarshalStrict(b, crd))
		kind := crd.Spec.Names.Kind
		for _, version := range crd.Spec.Versions {
			spec := version.Schema.OpenAPIV3Schema.Properties["spec"]
			for _, path := range references("spec", &spec) {
				found++
				if known[kind][path] == "" {
					t.Errorf("config/name-references does not have %s of %s", path, kind)
				}
			}
		}
	}
	if found < 7 {
		t.Errorf("the kinds have %d references, which are too few", found)
	}
}

// references returns the paths of the names in the references below a field.
func references(path string, schema *apiextensionsv1.JSONSchemaProps) (paths []string) {
	if schema.Items != nil && schema.Items.Schema != nil {
		schema = schema.Items.Schema
	}
	for name, inner := range schema.Properties {
		below := path + "/" + name
		target := &inner
		if inner.Items != nil && inner.Items.Schema != nil {
			target = inner.Items.Schema
		}
		if _, named := target.Properties["name"]; named && regexp.MustCompile(`Refs?$`).MatchString(name) {
			paths = append(paths, below+"/name")
			continue
		}
		paths = append(paths, references(below, &inner)...)
	}
	return paths
}
