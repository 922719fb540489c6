// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/config/crd"
)

// admit returns a TeamTalkReceiver, in YAML, as an API server stores it: with defaults, and validated. The error is one
// line.
func admit(ctx context.Context, document []byte) (*v1alpha1.TeamTalkReceiver, error) {
	r, o := &v1alpha1.TeamTalkReceiver{}, &unstructured.Unstructured{}
	raw, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, err
	}
	if err := o.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	if got, want := o.GetAPIVersion(), v1alpha1.GroupVersion.String(); got != want {
		return nil, fmt.Errorf("apiVersion must be %s, not %q", want, got)
	}
	faults, err := applySchema(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("read the CRD: %w", err)
	}
	if len(faults) > 0 {
		return nil, errors.New(strings.Join(strings.Fields(faults.ToAggregate().Error()), " "))
	}
	if raw, err = o.MarshalJSON(); err != nil {
		return nil, err
	}
	return r, yaml.UnmarshalStrict(raw, r)
}

// applySchema sets the defaults of the CRD, and returns what its schema and its rules do not permit.
func applySchema(ctx context.Context, o *unstructured.Unstructured) (field.ErrorList, error) {
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(crd.Receivers, definition); err != nil {
		return nil, err
	}
	isVersion := func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == v1alpha1.GroupVersion.Version
	}
	version := definition.Spec.Versions[slices.IndexFunc(definition.Spec.Versions, isVersion)]
	properties := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		version.Schema.OpenAPIV3Schema, properties, nil); err != nil {
		return nil, err
	}
	structure, err := schema.NewStructural(properties)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(properties)
	if err != nil {
		return nil, err
	}

	faults := metavalidation.ValidateObjectMetaAccessor(
		o, o.GetNamespace() != "", metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	defaulting.Default(o.Object, structure)
	faults = append(faults, validation.ValidateCustomResource(nil, o.Object, validator)...)
	faults = append(faults, listtype.ValidateListSetsAndMaps(nil, structure, o.Object)...)
	if len(faults) == 0 { // as an API server, evaluate rules only on valid structures
		rules := cel.NewValidator(structure, true, celconfig.PerCallLimit)
		faults, _ = rules.Validate(ctx, nil, structure, o.Object, nil, celconfig.RuntimeCELCostBudget)
	}
	return faults, nil
}
