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
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
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

// InstallCRDs applies the CustomResourceDefinitions of a folder and waits until
// the API serves them.
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
	for _, o := range objects {
		const interval, limit = 50 * time.Millisecond, time.Minute
		err := wait.PollUntilContextTimeout(ctx, interval, limit, true, func(ctx context.Context) (bool, error) {
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
				return false, err
			}
			// Until something is known of it, its conditions are null: no list at all.
			conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
			for _, condition := range conditions {
				if m, ok := condition.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
					return true, nil
				}
			}
			return false, nil
		})
		if err != nil {
			return fmt.Errorf("wait until the API serves %s: %w", o.GetName(), err)
		}
	}
	return nil
}
