// SPDX-License-Identifier: Apache-2.0

// Command chart copies the CRDs, roles and alerts of config/ into the Helm chart, which can
// read no files outside of itself. It also writes the chart's README with the table of its
// values. Run it in the project's root:
//
//	go run ./hack/chart
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const chart = "charts/teamtalk-operator"

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
	for dir, patterns := range map[string][]string{
		"crds":       {"crd/bases/*.yaml"},
		"prometheus": {"prometheus/prometheusrule.yaml"},
		"rbac":       {"rbac/role.yaml", "rbac/*_role.yaml", "rbac/*_roles.yaml"},
	} {
		if err := mirror(filepath.Join(chart, "files", dir), patterns); err != nil {
			return err
		}
	}
	return nil
}

// mirror copies the matching files into dir and removes all others.
func mirror(dir string, patterns []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var names []string
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join("config", pattern))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("no file of config matches %s", pattern)
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
