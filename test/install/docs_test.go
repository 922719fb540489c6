// SPDX-License-Identifier: Apache-2.0

package install

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func readPage(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared.root, "docs", name))
	must(t, err)
	return string(b)
}

// TestInstallPage checks that the roles and values that the page names exist.
func TestInstallPage(t *testing.T) {
	t.Parallel()
	text := readPage(t, "how-to/install.md")
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

// TestMakeTargets checks that "make help" and the page list every target, and that CI does as the pages say.
func TestMakeTargets(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(shared.root, "Makefile"))
	must(t, err)
	help := exec.CommandContext(t.Context(), "make", "--no-print-directory", "help")
	help.Dir = shared.root
	listed, err := help.Output()
	must(t, err)
	text := readPage(t, "how-to/development.md")
	targets := regexp.MustCompile(`(?m)^([^\s:#]+):.* ## `).FindAllStringSubmatch(string(makefile), -1)
	if len(targets) == 0 {
		t.Error("the Makefile has no target")
	}
	for _, target := range targets {
		if !strings.Contains(string(listed), "  make "+target[1]+" ") {
			t.Errorf("make help does not list %s", target[1])
		}
		if target[1] != "help" && !strings.Contains(text, "| `make "+target[1]+"` |") {
			t.Errorf("docs/how-to/development.md does not list make %s", target[1])
		}
	}
	ci, err := os.ReadFile(filepath.Join(shared.root, ".ci", "run"))
	must(t, err)
	if bars := "E2E_BARS=report"; strings.Contains(string(ci), bars) != strings.Contains(readPage(t, "explanation/e2e.md"), "CI runs it as well, with `"+bars+"`") {
		t.Errorf("docs/explanation/e2e.md and .ci/run disagree about %s", bars)
	}
}

// TestGatewayLeftBehind checks that the page lists what to delete after a change of the gateway's mode.
func TestGatewayLeftBehind(t *testing.T) {
	t.Parallel()
	text := readPage(t, "how-to/install.md")
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

// TestSecurityPage checks that the tests, the chaos scenarios and the bench's figures that the page names exist, and
// that each threat has one.
func TestSecurityPage(t *testing.T) {
	t.Parallel()
	page := readPage(t, "explanation/security.md")
	names := regexp.MustCompile("`([A-Za-z_-]+)`")
	named := regexp.MustCompile("(?:`((?:test|internal|controllers)/[a-z/]+)`|(bench)): ((?:`[A-Za-z_-]+`(?:, )?)+)")
	for _, where := range named.FindAllStringSubmatch(page, -1) {
		dir := cmp.Or(where[1], "test/"+where[2])
		var source strings.Builder
		files, err := filepath.Glob(filepath.Join(shared.root, dir, "*.go"))
		must(t, err)
		for _, file := range files {
			b, err := os.ReadFile(file)
			must(t, err)
			source.Write(b)
		}
		for _, name := range names.FindAllStringSubmatch(where[3], -1) {
			want := fmt.Sprintf("%q", name[1]) // a scenario or a figure with a bar
			if strings.HasPrefix(name[1], "Test") {
				want = "\nfunc " + name[1] + "("
			}
			if !strings.Contains(source.String(), want) {
				t.Errorf("%s has no %s", dir, name[1])
			}
		}
	}
	_, threats, _ := strings.Cut(page, "## Threats")
	threats, _, _ = strings.Cut(threats, "\n## ")
	rows := regexp.MustCompile(`(?m)^\| .+ \| .* \| (.*)\|$`).FindAllStringSubmatch(threats, -1)
	if len(rows) < 30 {
		t.Errorf("the page has %d threats", len(rows))
	}
	for _, row := range rows {
		if strings.TrimSpace(row[1]) == "" {
			t.Errorf("nothing holds %.80s", row[0])
		}
	}
}

// instruction is an instruction of a Dockerfile, with its lines joined.
type instruction struct{ name, rest string }

// readDockerfile returns the stages of the Dockerfile, in which FROM has the defaults of its arguments.
func readDockerfile(t *testing.T) [][]instruction {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared.root, "Dockerfile"))
	must(t, err)
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(b), "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	defaults := map[string]string{}
	var stages [][]instruction
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch rest = strings.TrimSpace(rest); {
		case name == "":
			continue
		case name == "FROM":
			rest = os.Expand(rest, func(arg string) string { return defaults[arg] })
			stages = append(stages, nil)
		case name == "ARG" && len(stages) == 0:
			arg, value, _ := strings.Cut(rest, "=")
			defaults[arg] = value
			continue
		}
		if len(stages) == 0 {
			t.Fatalf("%s comes before the first FROM", name)
		}
		last := len(stages) - 1
		stages[last] = append(stages[last], instruction{name, strings.Join(strings.Fields(rest), " ")})
	}
	return stages
}

// instructionsNamed returns the arguments of the instructions with a name.
func instructionsNamed(stage []instruction, name string) (args []string) {
	for _, i := range stage {
		if i.name == name {
			args = append(args, i.rest)
		}
	}
	return args
}

// TestDockerfile checks the Dockerfile on machines without a builder. The base image has a full
// name, which builders without a registry configuration need, and a digest. The image has only the files of
// hack/image/rootfs.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	stages := readDockerfile(t)
	if len(stages) != 2 {
		t.Fatalf("it has %d stages, want 2", len(stages))
	}
	build, final := stages[0], stages[1]

	from := regexp.MustCompile(`^(?:--platform=\S* )?(\S+) AS build$`).FindStringSubmatch(build[0].rest)
	if from == nil {
		t.Fatalf("the first stage is from %q", build[0].rest)
	}
	full := regexp.MustCompile(`^[a-z0-9-]+(?:\.[a-z0-9-]+)+/[a-z0-9._/-]+:([a-zA-Z0-9._-]+)@sha256:[0-9a-f]{64}$`).FindStringSubmatch(from[1])
	if full == nil || full[1] == "latest" {
		t.Fatalf("%q must have a registry, a version and a digest: buildah and podman do not resolve short names, and a tag moves", from[1])
	}
	mod, err := os.ReadFile(filepath.Join(shared.root, "go.mod"))
	must(t, err)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))[1]
	if !strings.HasPrefix(full[1], version+"-") && !strings.HasPrefix(full[1], version+".") {
		t.Errorf("the image has Go %s, go.mod asks for %s", full[1], version)
	}
	if args := instructionsNamed(build, "ARG"); !slices.Contains(args, "GOPROXY") {
		t.Errorf("no argument names a mirror of modules: %q", args)
	}
	run := instructionsNamed(build, "RUN")
	if len(run) != 2 || run[0] != "go mod download" || !strings.HasSuffix(run[1], " hack/image/rootfs cmd/${PROGRAM} /rootfs") {
		t.Errorf("it must build with hack/image/rootfs: %q", run)
	}

	if final[0].rest != "scratch" {
		t.Errorf("the base of the image is %q, want scratch", final[0].rest)
	}
	var added []instruction
	for _, i := range final {
		if !slices.Contains([]string{"FROM", "ARG", "LABEL", "USER", "ENTRYPOINT"}, i.name) {
			added = append(added, i)
		}
	}
	if want := []instruction{{"COPY", "--from=build /rootfs /"}}; !slices.Equal(added, want) {
		t.Errorf("the image is %v, want %v and nothing else", added, want)
	}
	if user := instructionsNamed(final, "USER"); len(user) != 1 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user[0]) {
		t.Errorf("USER %q: Kubernetes needs a number to check runAsNonRoot", user)
	}
}

// declaredConfig returns the image's configuration in the Dockerfile, which hack/image must write, too.
func declaredConfig(t *testing.T) (user string, entrypoint []string, labels []string) {
	t.Helper()
	stages := readDockerfile(t)
	final := stages[len(stages)-1]
	must(t, json.Unmarshal([]byte(strings.Join(instructionsNamed(final, "ENTRYPOINT"), "")), &entrypoint))
	for _, label := range regexp.MustCompile(`([a-z.]+)=`).FindAllStringSubmatch(strings.Join(instructionsNamed(final, "LABEL"), " "), -1) {
		labels = append(labels, label[1])
	}
	slices.Sort(labels)
	return strings.Join(instructionsNamed(final, "USER"), ""), entrypoint, labels
}
