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

// containerdSocket is in the node's own /run.
const containerdSocket = "/run/containerd/containerd.sock"

// PauseImage is the name of the image of test/node/pause, without its tag.
const PauseImage = "teamtalk.example/pause"

// restrict_oom_score_adj: in a container, even root may not be spared more than the
// process that started it.
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

// network is the pods': a bridge that is their gateway.
const network = `{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "{PODS}"}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
`

// containerd returns the program, with its files written.
func (s *settings) containerd() (program, error) {
	networks := filepath.Join(s.dir, "networks")
	if err := os.MkdirAll(networks, 0o755); err != nil {
		return program{}, fmt.Errorf("make a folder for networks: %w", err)
	}
	if _, err := s.write(filepath.Join("networks", "pods.conflist"), network, "PODS", podRange); err != nil {
		return program{}, err
	}
	config, err := s.write("containerd.toml", containerdConfig, "SOCKET", containerdSocket, "PAUSE", s.Pause,
		"SNAPSHOTTER", snapshotter(), "PLUGINS", pluginDir(), "NETWORKS", networks)
	return program{name: "containerd", args: []string{"--config=" + config}}, err
}

// snapshotter is how containers get their files: as layers over each other, or as
// copies where the kernel does not lay the folder's kind over itself.
func snapshotter() string {
	const at = "/var/lib/try"
	for _, dir := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(at, dir), 0o755); err != nil {
			return "native"
		}
	}
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", at)
	if err := syscall.Mount("overlay", at+"/merged", "overlay", 0, options); err != nil {
		return "native"
	}
	_ = syscall.Unmount(at+"/merged", 0) // it goes with the namespace otherwise
	return "overlayfs"
}

// ctr runs containerd's own client, on kubelet's containers and images.
func (n *Node) ctr(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ctr",
		append([]string{"--address", containerdSocket, "--namespace", "k8s.io"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Import gives the node an image, from an OCI archive.
func (n *Node) Import(ctx context.Context, archive string) error {
	_, err := n.ctr(ctx, "images", "import", "--snapshotter", n.snapshotter, archive)
	return err
}

// Has sees that the node has images of these names.
func (n *Node) Has(ctx context.Context, images ...string) error {
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

// Kill sends a container's first process a SIGKILL: it ends as with a kill -9, and
// kubelet learns of it afterwards. The id is as in a pod's status.
func (n *Node) Kill(ctx context.Context, containerID string) error {
	_, err := n.ctr(ctx, "tasks", "kill", "--signal", "SIGKILL", strings.TrimPrefix(containerID, "containerd://"))
	return err
}
