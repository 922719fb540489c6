// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestChartMetadata checks what Helm and Artifact Hub show of the chart, and applies the examples there.
func TestChartMetadata(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(chartDir(), "Chart.yaml"))
	must(t, err)
	var chart struct {
		Home, Icon, AppVersion, KubeVersion string
		Sources                             []string
		Maintainers                         []map[string]string
		Annotations                         map[string]string
	}
	must(t, yaml.Unmarshal(b, &chart))
	if chart.Home == "" || len(chart.Sources) == 0 || len(chart.Maintainers) == 0 || chart.Annotations["artifacthub.io/license"] != "Apache-2.0" {
		t.Errorf("fields are missing: %+v", chart)
	}
	_, icon, _ := strings.Cut(chart.Icon, "/main/")
	if _, err := os.Stat(filepath.Join(shared.root, icon)); err != nil || icon == "" {
		t.Errorf("the icon %s is not a file of the repository", chart.Icon)
	}
	if oldest := kubernetesVersions(t)[0]; chart.KubeVersion != ">="+oldest+".0-0" {
		t.Errorf("the chart asks for %s, the oldest supported version is %s", chart.KubeVersion, oldest)
	}

	annotation := func(name string) (list []map[string]any) {
		must(t, yaml.Unmarshal([]byte(chart.Annotations["artifacthub.io/"+name]), &list))
		return list
	}
	got, want := map[string]string{}, map[string]string{}
	for _, crd := range annotation("crds") {
		if crd["description"] == "" || crd["displayName"] == "" {
			t.Errorf("%v has no description", crd["name"])
		}
		got[crd["name"].(string)] = crd["kind"].(string) + " " + crd["version"].(string)
	}
	for _, o := range kustomize(t, "crd") {
		kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
		want[o.GetName()] = kind + " " + versions[0].(map[string]any)["name"].(string)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config/crd (-) and the annotation (+) differ:\n%s", diff)
	}
	registry, err := exec.CommandContext(t.Context(), filepath.Join(shared.root, "hack", "names"), "registry").Output()
	must(t, err)
	image := strings.TrimSpace(string(registry)) + "/" + name + ":" + chart.AppVersion
	if images := annotation("images"); len(images) != 1 || images[0]["image"] != image {
		t.Errorf("the annotation names the images %v, want %s", images, image)
	}
	examples := annotation("crdsExamples")
	if len(examples) == 0 {
		t.Error("there is no example")
	}
	c := newCluster(t)
	c.Must(framework.InstallCRDs(t.Context(), c.Cluster.Admin, filepath.Join(shared.root, "config", "crd", "bases")))
	for _, example := range examples {
		o := &unstructured.Unstructured{Object: example}
		o.SetNamespace("default")
		c.Create(o)
	}
}

// TestCompatibilityPage checks that the page lists the versions that are tested.
func TestCompatibilityPage(t *testing.T) {
	t.Parallel()
	page := readPage(t, "reference/compatibility.md")
	for _, version := range kubernetesVersions(t) {
		if !strings.Contains(page, "\n| "+version+" | yes |") {
			t.Errorf("the page does not list Kubernetes %s", version)
		}
	}
}

// TestRename renames a copy of the repository: no file has the old names, and Go finds its packages.
func TestRename(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "copy")
	run := func(program string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		if _, err := os.Stat(dir); err == nil {
			cmd.Dir = dir
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("git", "clone", "--quiet", shared.root, dir)
	run(filepath.Join(dir, "hack", "rename"), "github.com/someone/chat", "registry.example.com/someone")
	run(filepath.Join(dir, "hack", "names"), "--check")
	if got := run(filepath.Join(dir, "hack", "names")); got != "repository=github.com/someone/chat\nregistry=registry.example.com/someone\n" {
		t.Errorf("hack/names prints %q", got)
	}
	if got := run("go", "list", "./api/...", "./cmd/..."); !strings.HasPrefix(got, "github.com/someone/chat/api/v1alpha1\n") {
		t.Errorf("the packages are %s", got)
	}
	grep := exec.CommandContext(t.Context(), "git", "grep", "-nE", "(github.com|ghcr.io)/teamtalk-io")
	grep.Dir = dir
	if out, err := grep.Output(); err == nil {
		t.Errorf("old names are left:\n%.2000s", out)
	}
}

// TestReleaseNotes checks the notes of a release.
func TestReleaseNotes(t *testing.T) {
	t.Parallel()
	script := filepath.Join(shared.root, "hack", "release-notes")
	if out, err := exec.CommandContext(t.Context(), script, "0.0.0").CombinedOutput(); err == nil || !strings.Contains(string(out), `no section "## [0.0.0]"`) {
		t.Errorf("the notes of an unknown version are %s", out)
	}
	b, err := os.ReadFile(filepath.Join(shared.root, "CHANGELOG.md"))
	must(t, err)
	_, want, _ := strings.Cut(string(b), "\n## [")
	version, want, _ := strings.Cut(want, "]")
	_, want, _ = strings.Cut(want, "\n")
	want, _, _ = strings.Cut(want, "\n## [")
	out, err := exec.CommandContext(t.Context(), script, version).Output()
	must(t, err)
	if strings.TrimSpace(string(out)) != strings.TrimSpace(want) || len(want) < 100 {
		t.Errorf("the notes of %s are not the section of the changelog:\n%.500s", version, out)
	}
}
