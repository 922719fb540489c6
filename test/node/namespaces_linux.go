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
)

// Variables that tell this program which part it plays.
const (
	stageVariable = "TEAMTALK_NODE_STAGE"
	dirVariable   = "TEAMTALK_NODE_DIR"

	initStage = "init" // the first process of the namespaces
	mainStage = "main" // the program itself, in them
)

// grace is how long the program in the namespaces may take to end when it is told to.
const grace = 30 * time.Second

// hidden are the machine's folders that the node has its own of.
var hidden = []string{"/run", "/var/lib", "/var/log"}

// kernelSettings are what kubelet sets for the whole machine. In the node's
// namespace of mounts each is a plain file, which it sets instead.
var kernelSettings = []string{
	"/proc/sys/vm/overcommit_memory", "/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/panic",
	"/proc/sys/kernel/panic_on_oops", "/proc/sys/kernel/keys/root_maxkeys", "/proc/sys/kernel/keys/root_maxbytes",
}

func inNamespaces() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // a terminal's Ctrl-C is Run's to pass on
	}
}

// Inside reports whether this process is in the namespaces that Run made.
func Inside() bool { return os.Getenv(stageVariable) == mainStage }

// Dir is the folder that Run was given.
func Dir() string { return os.Getenv(dirVariable) }

// Run runs this program again, with the same arguments, in namespaces of its own,
// and waits until it and all that it has started are gone. It returns the program's
// exit code. The program calls Init first, and finds Inside true. Ending ctx sends
// it a SIGTERM. dir is where the node keeps everything; Run does not remove it. needs
// are files that the program reads there; started is told the number of the namespaces'
// first process.
func Run(ctx context.Context, dir string, started func(pid int), needs ...string) (code int, err error) {
	for _, need := range append(needs, dir) {
		for _, own := range hidden {
			if strings.HasPrefix(need, own+"/") {
				return 0, fmt.Errorf("the node has a %s of its own, in which it would not find %s: move that elsewhere", own, need)
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
			err = fmt.Errorf("what ran on the node was ended: %w", exit)
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return code, errors.Join(err, removeCgroup(group))
}

// cgroupName is the control group of the node in dir.
func cgroupName(dir string) string { return filepath.Base(dir) }

// Init turns the process that Run has started into the first one of its namespaces,
// and does not return there. In all others it does nothing. It is for the beginning
// of main.
func Init() {
	if os.Getenv(stageVariable) != initStage {
		return
	}
	code, err := beInit(Dir())
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		code = 2
	}
	os.Exit(code) // which ends all other processes of the namespace
}

func beInit(dir string) (code int, err error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	if err := arrangeMounts(dir); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find this program: %w", err)
	}
	if err := os.Setenv(stageVariable, mainStage); err != nil {
		return 0, err
	}
	// Not by os/exec, which would wait for it: this process waits for everyone.
	pid, err := syscall.ForkExec(self, os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return 0, fmt.Errorf("start this program in its namespaces: %w", err)
	}
	go func() {
		for range signals {
			_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended
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
			return 0, fmt.Errorf("what ran on the node was ended by %s", status.Signal())
		default:
			return status.ExitStatus(), nil
		}
	}
}

// arrangeMounts gives the namespace its own /proc, folders and kernel settings.
func arrangeMounts(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts in their namespace: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for i, path := range kernelSettings {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		copied := filepath.Join(dir, fmt.Sprintf("setting-%d", i))
		if err := errors.Join(err, os.WriteFile(copied, b, 0o644), bind(copied, path)); err != nil {
			return err
		}
	}
	for _, path := range hidden {
		own := filepath.Join(dir, filepath.Base(path))
		if err := errors.Join(os.MkdirAll(own, 0o755), bind(own, path)); err != nil {
			return err
		}
	}
	return nil
}

func bind(from, to string) error {
	if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("put %s in place of %s: %w", from, to, err)
	}
	return nil
}
