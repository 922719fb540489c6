// SPDX-License-Identifier: Apache-2.0

package install

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func readPage(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared.root, "docs", name))
	must(t, err)
	return string(b)
}

// TestInstallPage checks that the roles and values that the page names exist.
func TestInstallPage(t *testing.T) {
	t.Parallel()
	text := readPage(t, "install.md")
	roles := regexp.MustCompile(`--clusterrole=([a-z-]+)`).FindAllStringSubmatch(text, -1)
	if len(roles) == 0 {
		t.Error("the page binds no role")
	}
	objects := kustomize(t, "default")
	for _, role := range roles {
		findObject(t, objects, "ClusterRole", "", role[1])
	}
	readme, err := os.ReadFile(filepath.Join(chartDir(), "README.md"))
	must(t, err)
	values := regexp.MustCompile("`((?:access|people|metrics|gateway|networkPolicy|server)\\.[a-zA-Z.]+)(?:=[a-z]+)?`").FindAllStringSubmatch(text, -1)
	if len(values) == 0 {
		t.Error("the page sets no value")
	}
	for _, value := range values {
		if !strings.Contains(string(readme), "| `"+value[1]+"` |") {
			t.Errorf("the chart has no value %s", value[1])
		}
	}
}

// TestMakeTargets checks that "make help" and the page list every documented target, and that
// CI runs what the pages say.
func TestMakeTargets(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(shared.root, "Makefile"))
	must(t, err)
	help := exec.CommandContext(t.Context(), "make", "--no-print-directory", "help")
	help.Dir = shared.root
	listed, err := help.Output()
	must(t, err)
	text := readPage(t, "development.md")
	targets := regexp.MustCompile(`(?m)^([^\s:#]+):.* ## `).FindAllStringSubmatch(string(makefile), -1)
	if len(targets) == 0 {
		t.Error("the Makefile has no target")
	}
	for _, target := range targets {
		if !strings.Contains(string(listed), "  make "+target[1]+" ") {
			t.Errorf("make help does not list %s", target[1])
		}
		if target[1] != "help" && !strings.Contains(text, "| `make "+target[1]+"` |") {
			t.Errorf("docs/development.md does not list make %s", target[1])
		}
	}
	ci, err := os.ReadFile(filepath.Join(shared.root, ".ci", "run"))
	must(t, err)
	if bars := "E2E_BARS=report"; strings.Contains(string(ci), bars) != strings.Contains(readPage(t, "e2e.md"), "CI runs it as well, with `"+bars+"`") {
		t.Errorf("docs/e2e.md and .ci/run disagree about %s", bars)
	}
}

// TestGatewayLeftBehind checks that the page lists the objects to delete after a change from
// one gateway to the other.
func TestGatewayLeftBehind(t *testing.T) {
	t.Parallel()
	text := readPage(t, "install.md")
	record, direct := byID(kustomize(t, "gateway")), byID(kustomize(t, "gateway-direct"))
	left := 0
	for _, pair := range [][2]map[string]*unstructured.Unstructured{{record, direct}, {direct, record}} {
		for id, o := range pair[0] {
			if pair[1][id] != nil {
				continue
			}
			left++
			if what := "kubectl delete " + strings.ToLower(o.GetKind()) + " " + o.GetName() + " "; !strings.Contains(text, what) {
				t.Errorf("%q is not on the page", what)
			}
		}
	}
	if left != 3 {
		t.Errorf("%d objects are left behind, want 3", left)
	}
}

// TestSecurityPage checks that the tests that the page names exist.
func TestSecurityPage(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`(test/[a-z]+)`: ((?:`Test[A-Za-z]+`(?:, )?)+)").FindAllStringSubmatch(readPage(t, "security.md"), -1)
	if len(named) == 0 {
		t.Fatal("the page names no test")
	}
	for _, where := range named {
		var functions []string
		must(t, filepath.WalkDir(filepath.Join(shared.root, where[1]), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, f := range regexp.MustCompile(`(?m)^func (Test[A-Za-z]+)\(`).FindAllStringSubmatch(string(b), -1) {
				functions = append(functions, f[1])
			}
			return err
		}))
		for _, test := range regexp.MustCompile(`Test[A-Za-z]+`).FindAllString(where[2], -1) {
			if !slices.Contains(functions, test) {
				t.Errorf("%s has no %s", where[1], test)
			}
		}
	}
}
