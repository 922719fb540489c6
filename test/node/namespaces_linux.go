// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// Environment variables of the processes in the namespaces.
const (
	stageVariable = "TEAMTALK_NODE_STAGE"
	dirVariable   = "TEAMTALK_NODE_DIR"

	initStage = "init" // the first process of the namespaces
	mainStage = "main" // the program itself, in them
)

// grace is how long the program in the namespaces may take to end after a SIGTERM.
const grace = 30 * time.Second

// hidden are the folders of which the node has its own.
var hidden = []string{"/run", "/var/lib", "/var/log"}

// kernelSettings are those that kubelet changes. In the node's mount namespace they are plain files.
var kernelSettings = []string{
	"/proc/sys/vm/overcommit_memory", "/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/panic",
	"/proc/sys/kernel/panic_on_oops", "/proc/sys/kernel/keys/root_maxkeys", "/proc/sys/kernel/keys/root_maxbytes",
}

func inNamespaces() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // Run passes a terminal's Ctrl-C on
	}
}

// Inside reports whether this process is in the namespaces of Run.
func Inside() bool { return os.Getenv(stageVariable) == mainStage }

// Dir returns the folder that Run was called with.
func Dir() string { return os.Getenv(dirVariable) }

// Run runs this program again in new namespaces, with the same arguments, and returns its exit code when it and
// all its children have ended. The program must call Init first. Cancelling ctx sends it a SIGTERM. It keeps
// its files in dir, which Run does not remove, and reads those in needs. started gets the id of the first
// process.
func Run(ctx context.Context, dir string, started func(pid int), needs ...string) (code int, err error) {
	for _, need := range append(needs, dir) {
		for _, folder := range hidden {
			if strings.HasPrefix(need, folder+"/") {
				return 0, fmt.Errorf("the node replaces %s, so %s must be elsewhere", folder, need)
			}
		}
	}
	group := cgroupName(dir)
	if err := makeCgroup(group); err != nil {
		return 0, errors.Join(err, removeCgroup(group))
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageVariable+"="+initStage, dirVariable+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = inNamespaces()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	if err = cmd.Start(); err == nil {
		started(cmd.Process.Pid)
		err = cmd.Wait()
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code, err = exit.ExitCode(), nil
		if code < 0 {
			err = fmt.Errorf("the program in the node's namespaces was killed: %w", exit)
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return code, errors.Join(err, removeCgroup(group))
}

// cgroupName returns the name of the control group of the node in dir.
func cgroupName(dir string) string { return filepath.Base(dir) }

// Init must be called first in main. It does not return in the first process of the namespaces.
func Init() {
	if os.Getenv(stageVariable) != initStage {
		return
	}
	code, err := runInit(Dir())
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		code = 2
	}
	os.Exit(code) // the kernel kills the other processes of the namespace
}

func runInit(dir string) (code int, err error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	if err := framework.Try(func() { setUpMounts(dir) }); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err = errors.Join(err, os.Setenv(stageVariable, mainStage)); err != nil {
		return 0, err
	}
	// os/exec would wait for the process, but this process waits for all.
	pid, err := syscall.ForkExec(self, os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return 0, fmt.Errorf("start the program in its namespaces: %w", err)
	}
	go func() {
		for range signals {
			_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended already
		}
	}()
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for processes: %w", err)
		case ended != pid:
		case status.Signaled():
			return 0, fmt.Errorf("the program in the node's namespaces was killed by %s", status.Signal())
		default:
			return status.ExitStatus(), nil
		}
	}
}

func setUpMounts(dir string) {
	mount := func(from, to, kind string, flags uintptr) {
		framework.Mustf(syscall.Mount(from, to, kind, flags, ""), "mount %s at %s", from, to)
	}
	mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE)
	mount("proc", "/proc", "proc", 0)
	for i, path := range kernelSettings {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		framework.Must(err)
		copied := filepath.Join(dir, fmt.Sprintf("setting-%d", i))
		framework.Must(os.WriteFile(copied, b, 0o644))
		mount(copied, path, "", syscall.MS_BIND)
	}
	for _, path := range hidden {
		source := filepath.Join(dir, filepath.Base(path))
		framework.Must(os.MkdirAll(source, 0o755))
		mount(source, path, "", syscall.MS_BIND)
	}
}
