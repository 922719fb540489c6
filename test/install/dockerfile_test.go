package install

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile, with its lines joined.
type instruction struct{ name, rest string }

// readDockerfile returns the stages of the Dockerfile, each from its FROM on, in which
// the build arguments have their defaults.
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

// of returns what is said by the instructions of a name.
func of(stage []instruction, name string) (said []string) {
	for _, i := range stage {
		if i.name == name {
			said = append(said, i.rest)
		}
	}
	return said
}

// TestDockerfile holds the Dockerfile to what the image promises, on machines that
// build it without: that it is found by builders that ask no daemon and know no short
// names, has nothing but the program, and is built as without a Dockerfile.
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
	full := regexp.MustCompile(`^[a-z0-9-]+(?:\.[a-z0-9-]+)+/[a-z0-9._/-]+:([a-zA-Z0-9._-]+)(?:@sha256:[0-9a-f]{64})?$`).FindStringSubmatch(from[1])
	if full == nil || full[1] == "latest" {
		t.Fatalf("%q must name its registry and its version: buildah and podman do not look further where there is nobody to ask", from[1])
	}
	mod, err := os.ReadFile(filepath.Join(shared.root, "go.mod"))
	must(t, err)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))[1]
	if !strings.HasPrefix(full[1], version+"-") && !strings.HasPrefix(full[1], version+".") {
		t.Errorf("the image has Go %s, go.mod asks for %s", full[1], version)
	}
	run := of(build, "RUN")
	if len(run) != 2 || run[0] != "go mod download" || !strings.HasSuffix(run[1], " hack/image/rootfs ${PROGRAM} /rootfs") {
		t.Errorf("it must build with hack/image/rootfs, as without a Dockerfile, and not by itself: %q", run)
	}

	if final[0].rest != "scratch" {
		t.Errorf("the image is made from %q: something may be in it", final[0].rest)
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
	if user := of(final, "USER"); len(user) != 1 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user[0]) {
		t.Errorf("USER %q: Kubernetes can only tell of a number that it is not root's", user)
	}
}

// declared is what the Dockerfile says of the image: what it is made of without one
// must say the same.
func declared(t *testing.T) (user string, entrypoint []string, labels []string) {
	t.Helper()
	stages := readDockerfile(t)
	final := stages[len(stages)-1]
	must(t, json.Unmarshal([]byte(strings.Join(of(final, "ENTRYPOINT"), "")), &entrypoint))
	for _, label := range regexp.MustCompile(`([a-z.]+)=`).FindAllStringSubmatch(strings.Join(of(final, "LABEL"), " "), -1) {
		labels = append(labels, label[1])
	}
	slices.Sort(labels)
	return strings.Join(of(final, "USER"), ""), entrypoint, labels
}

// TestImageTools looks at what the tools are called with that TestImage cannot run
// everywhere: each must be told all that the Dockerfile takes.
func TestImageTools(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"docker", "buildah", "podman"} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			called := filepath.Join(dir, "called")
			// It writes down how it is called, and makes the file that is asked for.
			must(t, os.WriteFile(filepath.Join(dir, tool), []byte(`#!/bin/sh
echo "$*" >>"$CALLED"
for last in "$@"; do
	case $before in --output) : >"$last" ;; esac
	case $last in oci-archive:*) last=${last#oci-archive:}; : >"${last%%:*}" ;; esac
	before=$last
done
`), 0o700))
			build := exec.CommandContext(t.Context(), filepath.Join(shared.root, "hack", "image", "build"), name, "example.com/"+name, "arm64")
			build.Env = append(os.Environ(), "PATH="+dir+string(filepath.ListSeparator)+os.Getenv("PATH"), "CALLED="+called,
				"IMAGE_TOOL="+tool, "IMAGE_DIR="+dir, "VERSION=1.2.3-test", "COMMIT=c0ffee", "GO_IMAGE=example.com/go:1", "IMAGE_FLAGS=--network=host --quiet")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			b, err := os.ReadFile(called)
			must(t, err)
			first, _, _ := strings.Cut(string(b), "\n")
			for _, want := range []string{
				"build --network=host --quiet ", "--platform linux/arm64 ", "--build-arg PROGRAM=" + name, "--build-arg VERSION=1.2.3-test",
				"--build-arg COMMIT=c0ffee", "--build-arg GO_IMAGE=example.com/go:1",
				"--build-arg BUILDPLATFORM=linux/" + runtime.GOARCH, "--tag example.com/" + name + ":1.2.3-test",
			} {
				if !strings.Contains(first, want) {
					t.Errorf("%q is not in %q", want, first)
				}
			}
		})
	}
}
