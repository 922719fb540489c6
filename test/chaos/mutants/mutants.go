// SPDX-License-Identifier: Apache-2.0

// Package mutants removes one protection of the operator at a time, by patches that
// are applied to a copy of the source and built with "go build -overlay".
//
// All returns the mutants, and Variant an operator that a scenario needs beside the real one.
// Mutant.Patch applies one, and Mutant.Overlay writes the result as an overlay to a directory.
//
// A .patch file has one line of description, the scenario or the test of a package that
// must fail, and hunks in the form of a unified diff. A hunk names a directory instead of a file and line:
// its lines must occur there exactly once, in Go files that are not tests,
// subdirectories included, and indentation does not count. When the code changes,
// TestMutants names the hunk that no longer applies: copy the new lines into it.
package mutants

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed *.patch variants/*.patch
var patches embed.FS

// Mutant is the operator without one of its protections.
type Mutant struct {
	Name        string
	Description string
	// Scenario is the chaos scenario that must fail. If it is empty, Test of Package must fail: no scenario can cause what
	// the protection is for.
	Scenario      string
	Package, Test string
	hunks         []hunk
}

// hunk replaces the lines old, in a file under dir, by the lines replacement.
type hunk struct {
	dir              string
	old, replacement []string
}

// All returns the mutants, sorted by name.
func All() ([]Mutant, error) {
	files, err := fs.Glob(patches, "*.patch")
	if err != nil {
		return nil, err
	}
	var all []Mutant
	for _, name := range files {
		text, err := patches.ReadFile(name)
		if err != nil {
			return nil, err
		}
		m, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		m.Name = strings.TrimSuffix(name, ".patch")
		all = append(all, m)
	}
	return all, nil
}

// Variant returns a change that is no mutant: a scenario runs an operator that is built with it.
func Variant(name string) (Mutant, error) {
	text, err := patches.ReadFile("variants/" + name + ".patch")
	if err != nil {
		return Mutant{}, err
	}
	v, err := parse(string(text))
	v.Name = name
	return v, err
}

var errHead = errors.New(`want a description, "scenario: NAME" or "test: PACKAGE TEST", and hunks`)

func parse(text string) (Mutant, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 {
		return Mutant{}, errHead
	}
	m := Mutant{Description: lines[0]}
	if test, ok := strings.CutPrefix(lines[1], "test: "); ok {
		if m.Package, m.Test, ok = strings.Cut(test, " "); !ok {
			return Mutant{}, errHead
		}
	} else if m.Scenario, ok = strings.CutPrefix(lines[1], "scenario: "); !ok {
		return Mutant{}, errHead
	}
	for _, line := range lines[2:] {
		if dir, ok := strings.CutPrefix(line, "@@ "); ok {
			m.hunks = append(m.hunks, hunk{dir: dir})
			continue
		}
		if line == "" || !strings.Contains(" +-", line[:1]) || len(m.hunks) == 0 {
			return Mutant{}, fmt.Errorf(`%q: want "@@ DIRECTORY", or a line of a hunk that begins with a space, + or -`, line)
		}
		h := &m.hunks[len(m.hunks)-1]
		if line[0] != '+' {
			h.old = append(h.old, strings.TrimSpace(line[1:]))
		}
		if line[0] != '-' {
			h.replacement = append(h.replacement, line[1:])
		}
	}
	return m, nil
}

// Patch applies the mutant to the source under root and returns the patched files by path.
func (m Mutant) Patch(root string) (map[string]string, error) {
	sources := map[string]string{}
	for _, h := range m.hunks {
		if err := h.apply(root, sources); err != nil {
			return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
		}
	}
	return sources, nil
}

// Overlay writes the patched files to dir, and an overlay of them for "go build". It
// returns the path of the overlay.
func (m Mutant) Overlay(root, dir string) (string, error) {
	sources, err := m.Patch(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for path, source := range sources {
		patched := filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(patched, []byte(source), 0o600); err != nil {
			return "", err
		}
		replace[path] = patched
	}
	file, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, file, 0o600)
}

// apply patches the one file under root that has the hunk's old lines. sources holds the patched files by path.
func (h hunk) apply(root string, sources map[string]string) error {
	var found []string
	err := filepath.WalkDir(filepath.Join(root, h.dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, ok := sources[path]
		if !ok {
			file, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			source = string(file)
		}
		lines := strings.Split(source, "\n")
		for i := range lines {
			if !h.matches(lines[i:]) {
				continue
			}
			if found = append(found, fmt.Sprintf("%s:%d", path, i+1)); len(found) == 1 {
				patched := append(append(lines[:i:i], h.replacement...), lines[i+len(h.old):]...)
				sources[path] = strings.Join(patched, "\n")
			}
		}
		return nil
	})
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("want these lines once in %s, found %d %q:\n%s", h.dir, len(found), found, strings.Join(h.old, "\n"))
	}
	return err
}

// matches reports whether lines begin with the hunk's old lines.
func (h hunk) matches(lines []string) bool {
	for i, old := range h.old {
		if i >= len(lines) || strings.TrimSpace(lines[i]) != old {
			return false
		}
	}
	return len(h.old) > 0
}
