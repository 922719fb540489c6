// SPDX-License-Identifier: Apache-2.0

// Command chart copies the CRDs, roles and alerts of config/ and the dashboard into the Helm
// chart, which can read no files outside of itself. It also writes the chart's README with the
// table of its values, and their JSON schema. Run it in the project's root:
//
//	go run ./hack/chart
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const (
	chart  = "charts/teamtalk-operator"
	alerts = "config/prometheus/prometheusrule.yaml"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run() error {
	values, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return fmt.Errorf("run this in the project's root: %w", err)
	}
	text, err := readme(values)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(chart, "README.md"), text, 0o644); err != nil {
		return err
	}
	if err := writeSchema(values); err != nil {
		return err
	}
	for dir, patterns := range map[string][]string{
		"crds":       {"config/crd/bases/*.yaml"},
		"dashboards": {"dashboards/*.json"},
		"prometheus": {alerts},
		"rbac":       {"config/rbac/role.yaml", "config/rbac/*_role.yaml", "config/rbac/*_roles.yaml"},
	} {
		if err := mirror(filepath.Join(chart, "files", dir), patterns); err != nil {
			return err
		}
	}
	return nil
}

func writeSchema(values []byte) error {
	source, err := os.ReadFile("hack/chart/schema.yaml")
	if err != nil {
		return err
	}
	rules, err := os.ReadFile(alerts)
	if err != nil {
		return err
	}
	text, err := schema(source, values, rules)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(chart, "values.schema.json"), text, 0o644)
}

// mirror copies the matching files into dir and removes all others.
func mirror(dir string, patterns []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var names []string
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("no file matches %s", pattern)
		}
		for _, file := range files {
			names = append(names, filepath.Base(file))
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), content, 0o644); err != nil {
				return err
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
