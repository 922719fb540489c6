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
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// nameReferences are the fields of config/name-references, by kind of the referrer, with the kind that they refer to.
// Fields of all kinds, which are the owners, have the kind "".
func nameReferences(t testing.TB) (fields map[string]map[string]string, owners []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared.root, "config", "name-references", "name_references.yaml"))
	must(t, err)
	var file struct {
		NameReference []struct {
			Kind, Version string
			FieldSpecs    []struct{ Group, Kind, Path string }
		}
	}
	must(t, yaml.UnmarshalStrict(b, &file))
	fields = map[string]map[string]string{}
	for _, r := range file.NameReference {
		for _, f := range r.FieldSpecs {
			if f.Kind == "" {
				if f.Group != v1alpha1.GroupVersion.Group || f.Path != "metadata/ownerReferences/name" {
					t.Errorf("%+v is no reference to an owner", f)
				}
				owners = append(owners, r.Kind)
				continue
			}
			if fields[f.Kind] == nil {
				fields[f.Kind] = map[string]string{}
			}
			fields[f.Kind][f.Path] = r.Kind
		}
	}
	return fields, owners
}

// reference is where an object refers to another one.
type reference struct {
	from *unstructured.Unstructured
	path string
	to   types.NamespacedName
	kind string
}

// referencesIn returns the references in rendered objects, and fails the test for a field that no object has.
func referencesIn(t *testing.T, objects []*unstructured.Unstructured) (all []reference) {
	t.Helper()
	fields, owners := nameReferences(t)
	for kind, paths := range fields {
		for path, to := range paths {
			before := len(all)
			for _, o := range objects {
				if o.GetKind() != kind {
					continue
				}
				for _, value := range valuesAt(o.Object, strings.Split(path, "/")...) {
					r := reference{from: o, path: path, kind: to, to: types.NamespacedName{Namespace: o.GetNamespace()}}
					switch value := value.(type) {
					case string:
						r.to.Name = value
					case map[string]any:
						r.to.Name, _ = value["name"].(string)
						if namespace, ok := value["namespace"].(string); ok {
							r.to.Namespace = namespace
						}
					}
					all = append(all, r)
				}
			}
			if len(all) == before {
				t.Errorf("no %s has %s", kind, path)
			}
		}
	}
	for _, o := range objects {
		for _, owner := range o.GetOwnerReferences() {
			to := types.NamespacedName{Namespace: o.GetNamespace(), Name: owner.Name}
			all = append(all, reference{o, "metadata/ownerReferences/name", to, owner.Kind})
			owners = slices.DeleteFunc(owners, func(kind string) bool { return kind == owner.Kind })
		}
	}
	if len(owners) > 0 {
		t.Errorf("no object is owned by %q", owners)
	}
	return all
}

// valuesAt returns what is at a path, in each element of a list.
func valuesAt(value any, path ...string) (all []any) {
	switch inner := value.(type) {
	case []any:
		for _, element := range inner {
			all = append(all, valuesAt(element, path...)...)
		}
		return all
	case map[string]any:
		if len(path) == 0 {
			return []any{inner}
		}
		return valuesAt(inner[path[0]], path[1:]...)
	case nil:
		return nil
	}
	return []any{value}
}

// TestNameReferences renders what generates and prefixes names and moves all into a namespace: each reference is to an
// object of the kustomization, unless it was to another one.
func TestNameReferences(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		overlay string
		// same are the objects whose reference to a server stays.
		same map[string]types.NamespacedName
	}{
		"names and namespaces": {
			overlay: "overlay", same: map[string]types.NamespacedName{"prod-elsewhere": {Namespace: "shared", Name: "chat"}},
		},
		"names": {
			overlay: "prefix", same: map[string]types.NamespacedName{
				"prod-elsewhere": {Namespace: "shared", Name: "chat"},
				// kustomize does not follow names across namespaces: the page says so.
				"prod-across": {Namespace: "im", Name: "chat"},
			},
		},
		"neither": {
			overlay: "base", same: map[string]types.NamespacedName{"elsewhere": {Namespace: "shared", Name: "chat"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects, err := framework.Kustomize(filepath.Join("testdata", "name-references", tc.overlay))
			must(t, err)
			there := map[string]map[types.NamespacedName]bool{}
			for _, o := range objects {
				if there[o.GetKind()] == nil {
					there[o.GetKind()] = map[types.NamespacedName]bool{}
				}
				there[o.GetKind()][types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}] = true
			}
			generated := regexp.MustCompile(`-[a-z0-9]{10}$`)
			for _, r := range referencesIn(t, objects) {
				if want, stays := tc.same[r.from.GetName()]; stays {
					if r.to != want {
						t.Errorf("%s of %s became %s, want %s", r.path, r.from.GetName(), r.to, want)
					}
					continue
				}
				if !there[r.kind][r.to] {
					t.Errorf("%s of %s is %s; there are %v", r.path, r.from.GetName(), r.to, there[r.kind])
				}
				if isGenerated := r.kind == "ConfigMap" || r.kind == "Secret"; isGenerated && !generated.MatchString(r.to.Name) {
					t.Errorf("%s of %s is %q, which is no generated name", r.path, r.from.GetName(), r.to.Name)
				}
			}
			for _, o := range objects {
				if o.GetKind() != "Role" {
					continue
				}
				rules, _, err := unstructured.NestedSlice(o.Object, "rules")
				must(t, err)
				name := rules[0].(map[string]any)["resourceNames"].([]any)[0].(string)
				if !there["Secret"][types.NamespacedName{Namespace: o.GetNamespace(), Name: name}] {
					t.Errorf("the role is for the Secret %s; there are %v", name, there["Secret"])
				}
			}
		})
	}
}

// TestNameReferencesAreComplete: kustomize knows each reference that a kind has.
func TestNameReferencesAreComplete(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(shared.root, "config", "crd", "bases", "*.yaml"))
	must(t, err)
	known, owners := nameReferences(t)
	found := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		must(t, yaml.UnmarshalStrict(b, crd))
		kind := crd.Spec.Names.Kind
		if !slices.Contains(owners, kind) {
			t.Errorf("config/name-references does not have owners that are a %s", kind)
		}
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
	if found < 12 {
		t.Errorf("the kinds have %d references, which are too few", found)
	}
}

// references returns the paths of the references below a field: of the name, or of the whole reference if it has a
// namespace.
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
			if _, namespaced := target.Properties["namespace"]; !namespaced {
				below += "/name"
			}
			paths = append(paths, below)
			continue
		}
		paths = append(paths, references(below, &inner)...)
	}
	return paths
}
