// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRemoveTree checks that inner folders are removed first, and that a file, like a used group, prevents it.
func TestRemoveTree(t *testing.T) {
	root := filepath.Join(t.TempDir(), "group")
	noError(t, os.MkdirAll(filepath.Join(root, "pods", "one"), 0o755))
	used := filepath.Join(root, "pods", "used")
	noError(t, os.WriteFile(used, nil, 0o644))
	if err := removeTree(root); err == nil || exists(filepath.Join(root, "pods", "one")) {
		t.Errorf("error %v", err)
	}
	noError(t, os.Remove(used))
	if err := removeTree(root); err != nil || exists(root) {
		t.Errorf("error %v", err)
	}
	if err := removeTree(root); err != nil {
		t.Errorf("removing it again: %v", err)
	}
}

func TestGone(t *testing.T) {
	dir := t.TempDir()
	sleep := exec.Command("sleep", "600")
	sleep.Env = []string{dirVariable + "=" + dir}
	noError(t, sleep.Start())
	defer func() {
		_ = sleep.Process.Kill()
		_ = sleep.Wait() // it was killed
	}()
	err := Gone(dir)
	if err == nil || !strings.Contains(err.Error(), "the folder "+dir) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", sleep.Process.Pid)) {
		t.Errorf("error %v", err)
	}
	if err := Gone(filepath.Join(dir, "never-was")); err != nil {
		t.Error(err)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
