// Package gobuild builds programs with the go command and says, all the while,
// how far it is. It needs nothing but the standard library, so that what uses it
// is compiled at once on a machine where everything else is yet to be.
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

// Request is what to build.
type Request struct {
	// What names it in progress and errors, such as "kube-apiserver v1.37.2".
	What string
	// Dir is a folder of the module that is built in.
	Dir string
	// Programs are main packages, as paths ("./cmd/x") or import paths; each
	// program has the name of its folder.
	Programs []string
	// Into is the folder that the programs are written to; it must exist.
	Into string
	// Args are further arguments of "go build" and Env further variables.
	Args, Env []string
	// Log takes a line, at least every ten seconds.
	Log func(format string, args ...any)
}

// Build downloads the modules that the programs need, and no others, and compiles
// them. Ending ctx interrupts it; nothing half-built is left in Into.
func Build(ctx context.Context, r Request) error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("build %s: %w; install Go", r.What, err)
	}
	expected, mains, err := r.list(ctx)
	if err != nil {
		return err
	}
	p := packages{expected: expected, mains: mains}
	began := time.Now()
	status := func() string {
		return fmt.Sprintf("building %s (once, then cached): %s, %s", r.What, p.status(), Since(began))
	}
	stop := Report(r.Log, status)
	args := append([]string{"build", "-v"}, r.Args...)
	args = append(args, "-o", r.Into+string(os.PathSeparator))
	err = r.run(ctx, io.Discard, p.line, append(args, r.Programs...)...)
	stop()
	if err != nil {
		return fmt.Errorf("build %s in %s: %w", r.What, r.Dir, firstError(p.other, err))
	}
	r.Log("built %s in %s", r.What, Since(began))
	return nil
}

// list returns the import paths of all packages of the build, and of these the
// programs.
func (r Request) list(ctx context.Context) (all, mains map[string]bool, err error) {
	var m modules
	began := time.Now()
	stop := Report(r.Log, func() string {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.count == 0 {
			return fmt.Sprintf("looking up what %s needs: %s", r.What, Since(began))
		}
		return fmt.Sprintf("downloading the modules of %s: %d so far, now %s, %s", r.What, m.count, m.last, Since(began))
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

// run runs go in the request's folder, its standard output to out and each line
// of its standard error to line. Ending ctx interrupts it, which makes it stop
// its compilers and remove its temporary files.
func (r Request) run(ctx context.Context, out io.Writer, line func(string), args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.Dir
	cmd.Env = append(append(os.Environ(), r.Env...), "PWD="+r.Dir)
	cmd.Stdout = out
	cmd.Stderr = &Lines{Take: line}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil { // how it ended says less than why
		return context.Cause(ctx)
	}
	return err
}
