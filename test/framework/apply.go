// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// fieldOwner is who the applied fields belong to.
const fieldOwner = client.FieldOwner("teamtalk-test-framework")

// Apply applies objects as `kubectl apply --server-side` does.
func Apply(ctx context.Context, c client.Client, objects ...*unstructured.Unstructured) error {
	for _, o := range objects {
		config := client.ApplyConfigurationFromUnstructured(o.DeepCopy())
		if err := c.Apply(ctx, config, fieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// MergePatch patches an object as `kubectl patch --type=merge` does. It leaves o as it is.
func MergePatch(ctx context.Context, c client.Client, o client.Object, format string, args ...any) error {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, format, args...))
	return c.Patch(ctx, o.DeepCopyObject().(client.Object), patch)
}

// Read reads the objects of YAML files, each of which may hold several.
func Read(files ...string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		more, err := Decode(b)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Base(file), err)
		}
		objects = append(objects, more...)
	}
	return objects, nil
}

// Decode reads the objects of YAML documents.
func Decode(b []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096); ; {
		o := &unstructured.Unstructured{}
		err := d.Decode(&o.Object)
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		case len(o.Object) > 0:
			objects = append(objects, o)
		}
	}
}

// Kustomize renders a folder as `kubectl apply -k` does.
func Kustomize(dir string) ([]*unstructured.Unstructured, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", filepath.Base(dir), err)
	}
	b, err := resources.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", filepath.Base(dir), err)
	}
	return Decode(b)
}

// InstallCRDs applies the CustomResourceDefinitions of a folder and waits until the API serves them.
func InstallCRDs(ctx context.Context, c client.Client, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	objects, err := Read(files...)
	if err != nil {
		return err
	}
	if err := Apply(ctx, c, objects...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	for _, o := range objects {
		err := Await(ctx, "the API serves "+o.GetName(), func(ctx context.Context) (string, bool, error) {
			err := c.Get(ctx, client.ObjectKeyFromObject(o), o)
			// A new CRD has null conditions, which are no list.
			conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
			return "", slices.ContainsFunc(conditions, func(condition any) bool {
				m, ok := condition.(map[string]any)
				return ok && m["type"] == "Established" && m["status"] == "True"
			}), err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
