// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
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

// Gone returns an error if a process, mount, control group, address or the folder of the node in dir still exists.
func Gone(dir string) error {
	var left []string
	add := func(there bool, what string) {
		if there {
			left = append(left, what)
		}
	}
	err := framework.Try(func() {
		add(exists(dir), "the folder "+dir)
		mounts := framework.MustGet(os.ReadFile("/proc/self/mountinfo"))
		add(strings.Contains(string(mounts), dir), "mounts of "+dir)
		for _, h := range framework.MustGet(cgroupHierarchies()) {
			group := filepath.Join(h.path, cgroupName(dir))
			add(exists(group), "the control group "+group)
		}
		for _, path := range framework.MustGet(filepath.Glob("/proc/[0-9]*/environ")) {
			b, err := os.ReadFile(path) // the process may have ended
			add(err == nil && bytes.Contains(b, []byte(dirVariable+"="+dir+"\x00")),
				"process "+filepath.Base(filepath.Dir(path)))
		}
		for _, a := range framework.MustGet(net.InterfaceAddrs()) {
			add(strings.HasPrefix(a.String(), address+"/"), "the address "+address)
		}
	})
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("left by the node: %s", strings.Join(left, ", "))
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
