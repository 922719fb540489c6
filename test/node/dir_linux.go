// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
