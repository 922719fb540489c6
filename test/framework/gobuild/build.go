// SPDX-License-Identifier: Apache-2.0

package gobuild

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Request describes a build.
type Request struct {
	// What names the result in progress and errors, such as "kube-apiserver v1.37.2".
	What string
	// Dir is a folder of the module to build.
	Dir string
	// Programs are the main packages, as paths ("./cmd/x") or import paths. Each program has
	// the name of its folder.
	Programs []string
	// Into is the folder of the programs. It must exist.
	Into string
	// Args are more arguments of "go build", Env more variables.
	Args, Env []string
	// Log logs progress, at least every ten seconds.
	Log func(format string, args ...any)
}

// Build downloads modules and compiles the programs. If ctx is cancelled, Into has no incomplete files.
func Build(ctx context.Context, r Request) error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("build %s: %w; install Go", r.What, err)
	}
	expected, mains, err := r.list(ctx)
	if err != nil {
		return err
	}
	p := packages{expected: expected, mains: mains}
	begin := time.Now()
	status := func() string {
		return fmt.Sprintf("building %s (once, then cached): %s, %s", r.What, p.status(), Since(begin))
	}
	stop := Report(r.Log, status)
	args := append([]string{"build", "-v"}, r.Args...)
	args = append(args, "-o", r.Into+string(os.PathSeparator))
	err = r.run(ctx, io.Discard, p.line, append(args, r.Programs...)...)
	stop()
	if err != nil {
		return fmt.Errorf("build %s in %s: %w", r.What, r.Dir, firstError(p.other, err))
	}
	r.Log("built %s in %s", r.What, Since(begin))
	return nil
}

// list returns the import paths of all packages of the build, and those of the programs.
func (r Request) list(ctx context.Context) (all, mains map[string]bool, err error) {
	var m modules
	begin := time.Now()
	stop := Report(r.Log, func() string {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.count == 0 {
			return fmt.Sprintf("listing the packages of %s: %s", r.What, Since(begin))
		}
		return fmt.Sprintf("downloading the modules of %s: %d so far, now %s, %s", r.What, m.count, m.last, Since(begin))
	})
	defer stop()
	list := func(deps ...string) (map[string]bool, error) {
		var out bytes.Buffer
		args := append([]string{"list", "-mod=readonly", "-trimpath"}, deps...)
		if err := r.run(ctx, &out, m.line, append(args, r.Programs...)...); err != nil {
			return nil, fmt.Errorf("download the modules of %s in %s: %w", r.What, r.Dir, firstError(m.other, err))
		}
		paths := map[string]bool{}
		for path := range strings.FieldsSeq(out.String()) {
			paths[path] = true
		}
		return paths, nil
	}
	if all, err = list("-deps"); err != nil {
		return nil, nil, err
	}
	mains, err = list()
	return all, mains, err
}

// run runs go in the request's folder. An interrupt, if ctx is cancelled, makes go stop its compilers and clean
// up.
func (r Request) run(ctx context.Context, out io.Writer, line func(string), args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.Dir
	cmd.Env = append(append(os.Environ(), r.Env...), "PWD="+r.Dir)
	cmd.Stdout = out
	cmd.Stderr = &Lines{Take: line}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil { // explains more than err
		return context.Cause(ctx)
	}
	return err
}
