// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// hierarchy is a mounted tree of control groups: one in version 2, one for each controller in version 1.
type hierarchy struct {
	path string
	v2   bool
}

// cgroupHierarchies returns the hierarchies mounted below /sys/fs/cgroup.
func cgroupHierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("find the control groups: %w", err)
	}
	defer f.Close()
	var all []hierarchy
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 2 && strings.HasPrefix(fields[1], "/sys/fs/cgroup") &&
			(fields[2] == "cgroup" || fields[2] == "cgroup2") {
			all = append(all, hierarchy{path: fields[1], v2: fields[2] == "cgroup2"})
		}
	}
	return all, nil
}

// makeCgroup creates a control group at the root of every hierarchy.
func makeCgroup(name string) error {
	all, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	return framework.Try(func() {
		for _, h := range all {
			dir := filepath.Join(h.path, name)
			if h.v2 {
				enableControllers(h.path)
			}
			framework.Mustf(os.Mkdir(dir, 0o755), "create the node's control group")
			if h.v2 {
				enableControllers(dir)
				continue
			}
			// A new cpuset of version 1 has neither processors nor memory.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				if b, err := os.ReadFile(filepath.Join(h.path, file)); err == nil {
					framework.Must(os.WriteFile(filepath.Join(dir, file), b, 0o644))
				}
			}
		}
	})
}

// enableControllers enables the controllers of a group of version 2 for its children.
func enableControllers(dir string) {
	for name := range strings.FieldsSeq(string(framework.MustGet(os.ReadFile(filepath.Join(dir, "cgroup.controllers"))))) {
		framework.Must(os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0o644))
	}
}

// removeCgroup removes the group and its children, which have no processes any more.
func removeCgroup(name string) error {
	all, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// The kernel removes ended processes asynchronously.
	return framework.Await(ctx, "the node's control group is removed", framework.Retried(
		func(context.Context) (_ string, _ bool, err error) {
			for _, h := range all {
				err = errors.Join(err, removeTree(filepath.Join(h.path, name)))
			}
			return "", true, err
		}))
}

// removeTree removes a group's folders, innermost first. Their files are virtual.
func removeTree(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
