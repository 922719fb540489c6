// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gofrs/flock"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/assets"
)

// Root returns the project's root folder, which contains the working directory. A binary that is
// built with -trimpath does not know its sources.
func Root() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("get the working directory: %w", err)
	}
	return assets.ModuleRoot(wd)
}

// Build builds one of cmd/ into dir and returns the binary's path. Flags go to `go build`.
func Build(ctx context.Context, command, dir string, flags ...string) (string, error) {
	return build(ctx, nil, command, dir, flags)
}

func build(ctx context.Context, env []string, command, dir string, flags []string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, command)
	args := append([]string{"build", "-o", binary}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/"+command)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", command, err, out)
	}
	return binary, nil
}

// BuildCached builds one of cmd/ into bin/test for several test packages, with this program's race detector.
func BuildCached(ctx context.Context, command string) (string, error) {
	return buildCached(ctx, nil, command, RaceFlags...)
}

// BuildPlain is BuildCached without the race detector, for tests that measure the program's memory: the race
// detector multiplies it. It builds with the flags of the control plane, so that both share compiled packages.
func BuildPlain(ctx context.Context, command string) (string, error) {
	return buildCached(ctx, []string{"CGO_ENABLED=0"}, command, "-trimpath")
}

func buildCached(ctx context.Context, env []string, command string, flags ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "test", strings.Join(append([]string{"build"}, flags...), ""))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", command, err)
	}
	lock := flock.New(filepath.Join(dir, command+".lock"))
	if err := lock.Lock(); err != nil {
		return "", fmt.Errorf("build %s: %w", command, err)
	}
	defer lock.Close()
	return build(ctx, env, command, dir, flags)
}

// readSources reads the folders of all files that the programs are built from, so that the cached result of a package
// depends on them. It must be called in a test: "go test" notes only what is read from the first test on, and not what
// the compiler reads.
var readSources = sync.OnceValue(func() error {
	root, err := Root()
	if err != nil {
		return err
	}
	for _, dir := range []string{"api", "cmd", "config", "controllers", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(_ string, _ os.DirEntry, err error) error { return err })
		if err != nil {
			return err
		}
	}
	_, err = os.Stat(filepath.Join(root, "go.sum"))
	return err
})

// Tool returns the path of a program that a module in hack/tools pins, which it builds if needed, with the
// flags of the control plane's build, so that both share compiled packages.
func Tool(ctx context.Context, module, name string) (string, error) {
	path, err := goOfTool(ctx, module, "tool", "-n", name)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return path, nil
}

// ToolSources returns the folder of a Go module that a module in hack/tools pins.
func ToolSources(ctx context.Context, module, path string) (string, error) {
	dir, err := goOfTool(ctx, module, "list", "-m", "-f", "{{.Dir}}", path)
	if err != nil {
		return "", fmt.Errorf("find the sources of %s: %w", path, err)
	}
	return dir, nil
}

// goOfTool runs a command of Go for a module in hack/tools, and returns its output.
func goOfTool(ctx context.Context, module, command string, args ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	modfile := "-modfile=" + filepath.Join(root, "hack", "tools", module, "go.mod")
	cmd := exec.CommandContext(ctx, "go", append([]string{command, modfile}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+os.Getenv("GOFLAGS")+" -trimpath")
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", command, err, problem.String())
	}
	return strings.TrimSpace(string(out)), nil
}
