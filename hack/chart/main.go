// Command chart writes what the Helm chart takes from elsewhere: the CRDs, roles
// and alerts of config/, since a chart reads no file outside of itself, and a README with the
// table of its values. It runs in the project's root:
//
//	go run ./hack/chart
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
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
	readme, err := Readme(values)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(chart, "README.md"), readme, 0o644); err != nil {
		return err
	}
	if err := mirror(filepath.Join(chart, "files", "crds"), "config/crd/bases/*.yaml"); err != nil {
		return err
	}
	if err := mirror(filepath.Join(chart, "files", "prometheus"), "config/prometheus/prometheusrule.yaml"); err != nil {
		return err
	}
	return mirror(filepath.Join(chart, "files", "rbac"), "config/rbac/role.yaml", "config/rbac/*_role.yaml",
		"config/rbac/*_roles.yaml")
}

// mirror makes dir hold copies of the files that match, and nothing else.
func mirror(dir string, patterns ...string) error {
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
			if err := copyFile(filepath.Join(dir, filepath.Base(file)), file); err != nil {
				return err
			}
		}
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range there {
		if !slices.Contains(names, e.Name()) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyFile leaves alone what is up to date already.
func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(to)
	if err == nil && bytes.Equal(before, b) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
