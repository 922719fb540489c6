// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
	k8syaml "sigs.k8s.io/yaml"
)

// schema returns the JSON schema of the values, with the comments and defaults of values.yaml. Each value must be in
// both. rules is a file of the Prometheus Operator: its alerts are the ones that can be changed.
func schema(source, values, rules []byte) ([]byte, error) {
	var root map[string]any
	if err := k8syaml.Unmarshal(source, &root); err != nil {
		return nil, fmt.Errorf("read schema.yaml: %w", err)
	}
	delete(root, "definitions")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Values of the chart teamtalk-operator"
	node, err := yaml.Parse(string(values))
	if err != nil {
		return nil, fmt.Errorf("read values.yaml: %w", err)
	}
	if err := describe(root, node.YNode(), ""); err != nil {
		return nil, err
	}
	if err := nameAlerts(root, rules); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(root)
	return out.Bytes(), err
}

// describe adds comments and defaults to the properties of a map of values.
func describe(of map[string]any, m *yaml.Node, prefix string) error {
	properties, _ := of["properties"].(map[string]any)
	described := map[string]bool{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		path := prefix + key.Value
		property, ok := properties[key.Value].(map[string]any)
		if !ok {
			return fmt.Errorf("schema.yaml does not say what %s may be", path)
		}
		described[key.Value] = true
		if text := comment(key.HeadComment); text != "" {
			property["description"] = text
		}
		if property["properties"] != nil {
			if err := describe(property, value, path+"."); err != nil {
				return err
			}
			continue
		}
		var initial any
		if err := value.Decode(&initial); err != nil {
			return fmt.Errorf("values.yaml: %s: %w", path, err)
		}
		property["default"] = initial
	}
	for name := range properties {
		if !described[name] {
			return fmt.Errorf("values.yaml has no %s, which schema.yaml has", prefix+name)
		}
	}
	return nil
}

// nameAlerts allows changes of the alerts that exist.
func nameAlerts(root map[string]any, rules []byte) error {
	var file struct {
		Spec struct {
			Groups []struct {
				Rules []struct{ Alert string }
			}
		}
	}
	if err := k8syaml.Unmarshal(rules, &file); err != nil {
		return fmt.Errorf("read the alerts: %w", err)
	}
	const path = "properties.metrics.properties.prometheusRule.properties.alerts"
	alerts := root
	for step := range strings.SplitSeq(path, ".") {
		next, ok := alerts[step].(map[string]any)
		if !ok {
			return fmt.Errorf("schema.yaml has no %s", path)
		}
		alerts = next
	}
	properties := map[string]any{}
	for _, group := range file.Spec.Groups {
		for _, rule := range group.Rules {
			properties[rule.Alert] = map[string]any{"$ref": "#/$defs/alert"}
		}
	}
	if len(properties) == 0 {
		return errors.New("there are no alerts")
	}
	root["$defs"] = map[string]any{"alert": alerts["additionalProperties"]}
	alerts["properties"], alerts["additionalProperties"] = properties, false
	return nil
}
