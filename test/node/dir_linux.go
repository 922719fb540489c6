package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// prefix begins the names of nodes' folders, and of their control groups.
const prefix = "teamtalk-node-"

// held keep their folders locked as long as this process lives.
var held []*os.File

// TempDir makes a folder for a node, which is this process's until it ends. What is
// left of nodes whose process was killed it removes.
func TempDir() (dir string, err error) {
	// One at a time, lest another takes the new folder for a left one.
	all, err := lock(os.TempDir(), unix.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer all.Close()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return "", err
	}
	for _, old := range left {
		f, err := lock(old, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue // it is in use
		}
		if err == nil {
			err = errors.Join(removeCgroup(cgroupName(old)), os.RemoveAll(old), f.Close())
		}
		if err != nil {
			return "", fmt.Errorf("remove what an earlier node has left: %w", err)
		}
	}
	if dir, err = os.MkdirTemp("", prefix); err != nil {
		return "", fmt.Errorf("make a folder for the node: %w", err)
	}
	f, err := lock(dir, unix.LOCK_EX)
	if err != nil {
		return "", err
	}
	held = append(held, f)
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
