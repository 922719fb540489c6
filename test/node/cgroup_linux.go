// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// hierarchy is a mounted tree of control groups. Version 2 has one for all controllers,
// version 1 one for each.
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
	for _, h := range all {
		if h.v2 {
			if err := enableControllers(h.path); err != nil {
				return err
			}
		}
		dir := filepath.Join(h.path, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("create the node's control group: %w", err)
		}
		if h.v2 {
			if err := enableControllers(dir); err != nil {
				return err
			}
		}
		// A new cpuset of version 1 has neither processors nor memory.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if b, err := os.ReadFile(filepath.Join(h.path, file)); err == nil && !h.v2 {
				if err := os.WriteFile(filepath.Join(dir, file), b, 0o644); err != nil {
					return fmt.Errorf("create the node's control group: %w", err)
				}
			}
		}
	}
	return nil
}

// enableControllers enables the controllers of a group of version 2 for its children.
func enableControllers(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read the controllers: %w", err)
	}
	for name := range strings.FieldsSeq(string(b)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0o644); err != nil {
			return fmt.Errorf("enable in %s the controller %s: %w", dir, name, err)
		}
	}
	return nil
}

// removeCgroup removes the group and its children, which have no processes any more.
func removeCgroup(name string) error {
	all, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(10 * time.Second)
	var errs []error
	for _, h := range all {
		err := removeTree(filepath.Join(h.path, name))
		for err != nil && time.Now().Before(deadline) { // the kernel removes ended processes asynchronously
			time.Sleep(100 * time.Millisecond)
			err = removeTree(filepath.Join(h.path, name))
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the node's control group: %w", err)
	}
	return nil
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
