package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

// goPrograms are the main packages of the build; each program has the name of its folder.
var goPrograms = []string{kubernetesModule + "/cmd/" + apiServerName, "./" + etcdName}

// buildArgs are the arguments of "go build" that decide what comes out.
func buildArgs(s source) []string {
	// Without a stamp kube-apiserver says that it is v0.0.0-master, and whatever asks
	// for its version takes it for an ancient one. Kubernetes' own build stamps these.
	majorMinor, _ := strings.CutPrefix(semver.MajorMinor(s.kubernetes), "v")
	major, minor, _ := strings.Cut(majorMinor, ".")
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags,
			"-X", pkg+".gitVersion="+s.kubernetes,
			"-X", pkg+".gitMajor="+major,
			"-X", pkg+".gitMinor="+minor)
	}
	return []string{"-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=" + strings.Join(flags, " ")}
}

// build compiles both programs from s into the folder into with the go command.
// It needs the modules, from the module cache or wherever GOPROXY says.
func build(ctx context.Context, log func(format string, args ...any), s source, into string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("build %s and %s: %w; install Go, or set %s to a folder that has them", apiServerName, etcdName, err, assetsVariable)
	}
	what := fmt.Sprintf("%s %s and %s %s", apiServerName, s.kubernetes, etcdName, s.etcd)
	expected, err := listPackages(ctx, log, s, what)
	if err != nil {
		return err
	}
	p := packages{expected: expected, mains: map[string]bool{}}
	for _, main := range goPrograms {
		p.mains[strings.Replace(main, "./", mainModule+"/hack/controlplane/", 1)] = true
	}
	began := time.Now()
	status := func() string {
		return fmt.Sprintf("building %s (once, then cached): %s, %s", what, p.status(), since(began))
	}
	log("%s", status())
	stop := report(log, status)
	args := append(append([]string{"build", "-v"}, buildArgs(s)...), "-o", into+string(os.PathSeparator))
	err = goCommand(ctx, s, io.Discard, p.line, append(args, goPrograms...)...)
	stop()
	if err != nil {
		return fmt.Errorf("build %s in %s: %w", what, s.dir, firstError(p.other, err))
	}
	log("built %s in %s", what, since(began))
	return nil
}

// listPackages downloads the modules that the build needs, and no others, and
// returns the import paths of its packages.
func listPackages(ctx context.Context, log func(format string, args ...any), s source, what string) (map[string]bool, error) {
	var m modules
	began := time.Now()
	stop := report(log, func() string {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.count == 0 {
			return fmt.Sprintf("looking up what %s need: %s", what, since(began))
		}
		return fmt.Sprintf("downloading the modules of %s: %d of at most %d, now %s, %s", what, m.count, s.modules, m.last, since(began))
	})
	defer stop()
	log("looking up what %s need", what)
	var out bytes.Buffer
	args := append([]string{"list", "-mod=readonly", "-trimpath", "-deps"}, goPrograms...)
	if err := goCommand(ctx, s, &out, m.line, args...); err != nil {
		return nil, fmt.Errorf("download the modules of %s in %s: %w", what, s.dir, firstError(m.other, err))
	}
	paths := map[string]bool{}
	for path := range strings.FieldsSeq(out.String()) {
		paths[path] = true
	}
	return paths, nil
}

// goCommand runs go in the source's folder, its standard output to out and each
// line of its standard error to line. Ending ctx interrupts it, which makes it
// stop its compilers and remove its temporary files.
func goCommand(ctx context.Context, s source, out io.Writer, line func(string), args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH, "PWD="+s.dir)
	cmd.Stdout = out
	stderr := &lines{take: line}
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil { // how it ended says less than why
		return context.Cause(ctx)
	}
	return err
}
