// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/test/chaos/mutants"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestMutants checks that each patch applies, that the result type-checks, and that its scenario or test exists.
func TestMutants(t *testing.T) {
	root, err := framework.Root()
	noError(t, err)
	all, err := mutants.All()
	noError(t, err)
	if len(all) < 12 {
		t.Errorf("%d mutants, want at least 12", len(all))
	}
	ahead, err := mutants.Variant("clock-ahead")
	noError(t, err)
	packages := listPackages(t, root)
	for _, m := range append(all, ahead) {
		t.Run(m.Name, func(t *testing.T) {
			if m.Test != "" {
				wantTest(t, filepath.Join(root, m.Package), m.Test)
			} else if _, err := choose(m.Scenario, false); err != nil {
				t.Error(err)
			}
			patched, err := m.Patch(root)
			noError(t, err)
			for path := range patched {
				if err := packages.check(filepath.Dir(path), patched); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// wantTest checks that a test exists in dir.
func wantTest(t *testing.T, dir, test string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	noError(t, err)
	for _, file := range files {
		source, err := os.ReadFile(file)
		noError(t, err)
		if bytes.Contains(source, []byte("\nfunc "+test+"(t *testing.T) {")) {
			return
		}
	}
	t.Errorf("%s has no test %s", dir, test)
}

type goPackage struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// goPackages has the operator's packages by folder, with an importer of them.
type goPackages struct {
	fset     *token.FileSet
	byDir    map[string]goPackage
	importer types.Importer
}

func listPackages(t *testing.T, root string) *goPackages {
	t.Helper()
	args := append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles"}, framework.RaceFlags...)
	list := exec.CommandContext(t.Context(), "go", append(args, "./cmd/teamtalk-operator")...)
	list.Dir = root
	out, err := list.Output()
	noError(t, err)
	p := &goPackages{fset: token.NewFileSet(), byDir: map[string]goPackage{}}
	exports := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var one goPackage
		noError(t, d.Decode(&one))
		p.byDir[one.Dir] = one
		exports[one.ImportPath] = one.Export
	}
	p.importer = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	return p
}

// check type-checks the package in dir. patched replaces the contents of files.
func (p *goPackages) check(dir string, patched map[string]string) error {
	var files []*ast.File
	for _, name := range p.byDir[dir].GoFiles {
		path := filepath.Join(dir, name)
		var source any
		if content, ok := patched[path]; ok {
			source = content
		}
		file, err := parser.ParseFile(p.fset, path, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	config := types.Config{Importer: p.importer}
	_, err := config.Check(p.byDir[dir].ImportPath, p.fset, files, nil)
	return err
}
