// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// prefix of the names of the nodes' folders and control groups.
const prefix = "teamtalk-node-"

// lockedDirs keep their folders locked until this process ends.
var lockedDirs []*os.File

// TempDir creates and locks a folder for a node. It removes what killed processes have left.
func TempDir() (dir string, err error) {
	// Another process must not take the new folder for an abandoned one.
	all, err := lock(os.TempDir(), unix.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer all.Close()
	abandoned, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return "", err
	}
	for _, old := range abandoned {
		f, err := lock(old, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue // it is in use
		}
		if err == nil {
			err = errors.Join(removeCgroup(cgroupName(old)), os.RemoveAll(old), f.Close())
		}
		if err != nil {
			return "", fmt.Errorf("remove an abandoned node: %w", err)
		}
	}
	if dir, err = os.MkdirTemp("", prefix); err != nil {
		return "", fmt.Errorf("create the node's folder: %w", err)
	}
	f, err := lock(dir, unix.LOCK_EX)
	if err != nil {
		return "", err
	}
	lockedDirs = append(lockedDirs, f)
	return dir, nil
}

func lock(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock a folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// Gone returns an error if a process, mount, control group, address or the folder of the
// node in dir still exists.
func Gone(dir string) error {
	var left []string
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		left = append(left, "the folder "+dir)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	if strings.Contains(string(mounts), dir) {
		left = append(left, "mounts of "+dir)
	}
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if group := filepath.Join(h.path, cgroupName(dir)); exists(group) {
			left = append(left, "the control group "+group)
		}
	}
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, path := range environments {
		b, err := os.ReadFile(path) // the process may have ended
		if err == nil && bytes.Contains(b, []byte(dirVariable+"="+dir+"\x00")) {
			left = append(left, "process "+filepath.Base(filepath.Dir(path)))
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("read the addresses: %w", err)
	}
	for _, a := range addresses {
		if strings.HasPrefix(a.String(), address+"/") {
			left = append(left, "the address "+address)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("left by the node: %s", strings.Join(left, ", "))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
