// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// containerdSocket is in the node's /run.
const containerdSocket = "/run/containerd/containerd.sock"

// PauseImage is the name of the image of test/node/pause, without its tag.
const PauseImage = "teamtalk.example/pause"

// containerdConfig has restrict_oom_score_adj because a container's root may not lower the OOM score.
const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{SNAPSHOTTER}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{NETWORKS}"
`

// network is the pods' network: a bridge that is their gateway.
const network = `{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "{PODS}"}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
`

func (s *settings) containerd() program {
	networks := filepath.Dir(s.write(filepath.Join("networks", "pods.conflist"), network, "PODS", podRange))
	config := s.write("containerd.toml", containerdConfig, "SOCKET", containerdSocket, "PAUSE", s.Pause,
		"SNAPSHOTTER", snapshotter(), "PLUGINS", pluginDir(), "NETWORKS", networks)
	return program{name: "containerd", args: []string{"--config=" + config}}
}

// snapshotter returns overlayfs, or native if the kernel cannot overlay the folder's filesystem.
func snapshotter() string {
	const dir = "/var/lib/try"
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return "native"
		}
	}
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
	if err := syscall.Mount("overlay", dir+"/merged", "overlay", 0, options); err != nil {
		return "native"
	}
	_ = syscall.Unmount(dir+"/merged", 0) // else it ends with the namespace
	return "overlayfs"
}

// ctr runs containerd's client in kubelet's namespace.
func (n *Node) ctr(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ctr",
		append([]string{"--address", containerdSocket, "--namespace", "k8s.io"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Import imports an OCI archive.
func (n *Node) Import(ctx context.Context, archive string) error {
	_, err := n.ctr(ctx, "images", "import", "--snapshotter", n.snapshotter, archive)
	return err
}

// HasImages returns an error unless the node has the images.
func (n *Node) HasImages(ctx context.Context, images ...string) error {
	out, err := n.ctr(ctx, "images", "list", "--quiet")
	if err != nil {
		return err
	}
	for _, image := range images {
		if !slices.Contains(strings.Fields(out), image) {
			return fmt.Errorf("the node lacks the image %s; it has %s", image, strings.Join(strings.Fields(out), ", "))
		}
	}
	return nil
}

// Kill sends a SIGKILL to a container's first process. The id is that of a pod's status.
func (n *Node) Kill(ctx context.Context, containerID string) error {
	_, err := n.ctr(ctx, "tasks", "kill", "--signal", "SIGKILL", strings.TrimPrefix(containerID, "containerd://"))
	return err
}
