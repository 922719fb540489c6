// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// helperVariable makes this test binary run a guarded program in the folder that it names.
const helperVariable = "CONTROLPLANE_TEST_GUARD"

// startGuarded runs a guarded program in dir as envtest does. It prints a line and then
// runs until it is killed.
func startGuarded(dir string, stdout io.Writer) (*guard, *exec.Cmd, error) {
	program := filepath.Join(dir, "it's a program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"runs with $1\"\nexec sleep 600\n"), 0o755); err != nil {
		return nil, nil, err
	}
	g, err := newGuard(dir)
	if err != nil {
		return nil, nil, err
	}
	path, err := g.wrap(program)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(path, "--flag=value")
	cmd.Stdout = stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return g, cmd, cmd.Start()
}

// TestMain runs the tests, or is the process that a test kills.
func TestMain(m *testing.M) {
	dir := os.Getenv(helperVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	_, cmd, err := startGuarded(dir, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = cmd.Wait() // this process is killed first
}

func TestGuardedProgramDiesWithKilledParent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	noError(t, os.Mkdir(dir, 0o700))
	self, err := os.Executable()
	noError(t, err)
	helper := exec.Command(self)
	helper.Env = append(os.Environ(), helperVariable+"="+dir)
	// The program has this pipe as well, so EOF means that it ended.
	pipe, err := helper.StdoutPipe()
	noError(t, err)
	noError(t, helper.Start())
	out := bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); err != nil || line != "runs with --flag=value\n" {
		t.Fatalf("the program printed %q, %v", line, err)
	}
	noError(t, helper.Process.Kill())
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait() // it was killed
	waitUntilGone(t, dir)
}

func TestGuardCloseKillsProgram(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	noError(t, os.Mkdir(dir, 0o700))
	g, cmd, err := startGuarded(dir, nil)
	noError(t, err)
	g.close()
	g.close() // no-op
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the program ended with %v", err)
	}
	waitUntilGone(t, dir)
}

func waitUntilGone(t *testing.T, dir string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist), nil
	})
	if err != nil {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
