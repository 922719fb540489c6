// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"sigs.k8s.io/yaml"
)

// TestValid validates the CRDs as an API server does. A rule from a marker may not compile, because CEL cannot read
// some fields.
func TestValid(t *testing.T) {
	files, err := filepath.Glob("bases/*.yaml")
	if err != nil || len(files) != 5 {
		t.Fatalf("%d CRDs: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var v1 apiextensionsv1.CustomResourceDefinition
			if err := yaml.UnmarshalStrict(b, &v1); err != nil {
				t.Fatal(err)
			}
			apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
			apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
			var c apiextensions.CustomResourceDefinition
			err = apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &c, nil)
			if err != nil {
				t.Fatal(err)
			}
			if errs := validation.ValidateCustomResourceDefinition(t.Context(), &c); len(errs) > 0 {
				t.Error(errs)
			}
		})
	}
}
