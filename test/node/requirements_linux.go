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

// packages are Debian's, by the program that shows that they are there.
var packages = []struct{ program, name string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"runc", "runc"},
	{"iptables", "iptables"},
	{"iptables-restore", "iptables"},
	{"ip", "iproute2"},
	{"mount", "mount"},
	{"umoci", "umoci"},
	{"skopeo", "skopeo"},
}

// pluginDirs are where distributions put CNI's plugins; Debian's is the first.
var pluginDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// plugins are those that the node's network is made with.
var plugins = []string{"bridge", "host-local", "loopback"}

// Check says what keeps this machine from running a node, and what to do; nil:
// nothing that can be seen beforehand.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("a node needs root: run this as root, or name a cluster of your own with CLUSTER=current")
	}
	var lacks []string
	for _, p := range packages {
		if _, err := exec.LookPath(p.program); err != nil && !slices.Contains(lacks, p.name) {
			lacks = append(lacks, p.name)
		}
	}
	if pluginDir() == "" {
		lacks = append(lacks, "containernetworking-plugins")
	}
	if len(lacks) > 0 {
		return fmt.Errorf("a node needs programs that are not here: apt-get install %s", strings.Join(lacks, " "))
	}
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	if len(hierarchies) == 0 {
		return errors.New("a node needs control groups, and none are mounted at /sys/fs/cgroup: run this where they are, " +
			"such as on the machine itself")
	}
	return tryNamespaces()
}

// pluginDir is the folder of CNI's plugins; "" where some are missing.
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

// tryNamespaces tries what only shows when it is tried: whether this process may
// make namespaces, and a bridge in one.
func tryNamespaces() error {
	cmd := exec.Command("ip", "link", "add", "try0", "type", "bridge")
	cmd.SysProcAttr = inNamespaces()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("this machine does not let a node have its own namespaces and a bridge in them: run this with all "+
			"capabilities, on a kernel with bridges: %w %s",
			err, strings.TrimSpace(string(out)))
	}
	return nil
}
