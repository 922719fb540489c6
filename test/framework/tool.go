// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tool returns the path of a program that a module in hack/tools pins, which it builds if needed, with the
// flags of the control plane's build, so that both share compiled packages.
func Tool(ctx context.Context, module, name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "tool",
		"-modfile="+filepath.Join(root, "hack", "tools", module, "go.mod"), "-n", name)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+os.Getenv("GOFLAGS")+" -trimpath")
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, problem.String())
	}
	return strings.TrimSpace(string(out)), nil
}
