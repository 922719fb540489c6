// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// pluginDirs are the distributions' folders of CNI plugins. Debian's is the first.
var pluginDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// plugins are the CNI plugins of the node's network.
var plugins = []string{"bridge", "host-local", "loopback"}

// Check returns an error if this machine cannot run a node. hack/requirements checks for the programs.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("a node needs root: run this as root, or use your own cluster with CLUSTER=current")
	}
	if pluginDir() == "" {
		return errors.New("a node needs CNI plugins: run hack/requirements e2e")
	}
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	if len(hierarchies) == 0 {
		return errors.New("a node needs control groups, and none are mounted at /sys/fs/cgroup: " +
			"run this on the machine itself")
	}
	return tryNamespaces()
}

// pluginDir returns the folder of the CNI plugins, or "" if one is missing.
func pluginDir() string {
	for _, dir := range pluginDirs {
		if !slices.ContainsFunc(plugins, func(name string) bool {
			_, err := os.Stat(filepath.Join(dir, name))
			return err != nil
		}) {
			return dir
		}
	}
	return ""
}

// tryNamespaces creates namespaces with a bridge: only an attempt shows whether this process may.
func tryNamespaces() error {
	cmd := exec.Command("ip", "link", "add", "try0", "type", "bridge")
	cmd.SysProcAttr = inNamespaces()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot create namespaces with a bridge: "+
			"run this with all capabilities, on a kernel with bridges: %w %s",
			err, strings.TrimSpace(string(out)))
	}
	return nil
}
