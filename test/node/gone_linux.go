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
)

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
