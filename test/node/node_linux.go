// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

// startTimeout bounds each phase of the start: ten times what an idle machine needs.
const startTimeout = 2 * time.Minute

// Options configure Start.
type Options struct {
	// ControlPlane and Node are the folders that package assets returns.
	ControlPlane, Node string
	// Pause is the name of the image that holds pods' namespaces, Archive its OCI archive.
	Pause, Archive string
	// Logs is the folder of the programs' logs.
	Logs string
	// Failed is called when a program ends by itself.
	Failed func(error)
}

// Node is a cluster of one node. It ends with this process's namespaces.
type Node struct {
	settings
	snapshotter string
	config      *rest.Config
	kubeconfig  string
}

// Start starts the node in the namespaces of Run and returns when it is Ready.
func Start(ctx context.Context, o Options) (*Node, error) {
	if !Inside() {
		return nil, errors.New("a node starts only in the namespaces that Run creates")
	}
	n := &Node{settings: settings{Options: o, dir: Dir()}, snapshotter: snapshotter()}
	if err := setUpNetwork(ctx); err != nil {
		return nil, err
	}
	var err error
	if n.pki, err = newPKI(filepath.Join(n.dir, "pki")); err != nil {
		return nil, err
	}
	if n.kubeconfig, err = n.pki.kubeconfig("admin", serverURL, "admin", "system:masters"); err != nil {
		return nil, err
	}
	if n.config, err = n.pki.config("admin", serverURL); err != nil {
		return nil, err
	}
	if err := n.startAll(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

// Config returns a copy of the admin's client configuration.
func (n *Node) Config() *rest.Config { return rest.CopyConfig(n.config) }

// Kubeconfig returns the path of the admin's kubeconfig.
func (n *Node) Kubeconfig() string { return n.kubeconfig }

// KubeconfigIn returns the path of the admin's kubeconfig of a node in dir.
func KubeconfigIn(dir string) string { return filepath.Join(dir, "pki", "admin.kubeconfig") }

// Describe returns a line with the versions of the node's programs.
func (n *Node) Describe(ctx context.Context) (string, error) {
	client, err := kubernetes.NewForConfig(n.config)
	if err != nil {
		return "", err
	}
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	i := node.Status.NodeInfo
	return fmt.Sprintf("kubelet %s, %s with %s, kernel %s", i.KubeletVersion, i.ContainerRuntimeVersion, n.snapshotter,
		i.KernelVersion), nil
}

// setUpNetwork sets up the loopback interface and the node's address.
func setUpNetwork(ctx context.Context) error {
	for _, args := range []string{
		"link set lo up", "link add node0 type bridge", "address add " + address + "/24 dev node0", "link set node0 up",
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("set up the node's network: ip %s: %w: %s", args, err, strings.TrimSpace(string(out)))
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("enable forwarding of the pods' packets: %w", err)
	}
	return nil
}

func (n *Node) startAll(ctx context.Context) error {
	etcd, api, err := n.controlPlane()
	if err != nil {
		return err
	}
	containerd, err := n.containerd()
	if err != nil {
		return err
	}
	clients, err := n.apiClients()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(n.config)
	if err != nil {
		return err
	}
	if err := errors.Join(n.run(etcd), n.run(containerd)); err != nil {
		return err
	}
	if err := waitUntil(ctx, "etcd and containerd listen", func(context.Context) error {
		return errors.Join(dial("tcp", strings.TrimPrefix(etcdURL, "http://")), dial("unix", containerdSocket))
	}); err != nil {
		return err
	}
	if err := n.run(api); err != nil {
		return err
	}
	if err := n.Import(ctx, n.Archive); err != nil { // while kube-apiserver starts
		return err
	}
	if err := waitUntil(ctx, "kube-apiserver is ready", func(ctx context.Context) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		return err
	}
	for _, p := range clients {
		if err := n.run(p); err != nil {
			return err
		}
	}
	return waitUntil(ctx, "the node is Ready", func(ctx context.Context) error { return n.ready(ctx, client) })
}

// ready returns an error that says why the node is not ready.
func (n *Node) ready(ctx context.Context, client kubernetes.Interface) error {
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return errors.New(c.Message)
		}
	}
	if len(node.Status.Conditions) == 0 || len(node.Spec.Taints) > 0 {
		return fmt.Errorf("the node has the taints %v", node.Spec.Taints)
	}
	// Pods need a service account, which a controller creates.
	_, err = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	return err
}

// run starts a program and reports its end as a failure.
func (n *Node) run(p program) error {
	log, err := os.Create(filepath.Join(n.Logs, p.name+".log"))
	if err != nil {
		return fmt.Errorf("create the log of %s: %w", p.name, err)
	}
	path := filepath.Join(p.folder, p.name)
	if p.folder == "" {
		if path, err = exec.LookPath(p.name); err != nil {
			return err
		}
	}
	tail := &controlplane.Tail{Out: log}
	process, err := framework.Start(path, tail, p.args...)
	if err != nil {
		return err
	}
	go func() {
		<-process.Ended()
		n.Failed(fmt.Errorf("%s ended (%w): %s; see %s", p.name, process.Err(), tail.Reason(), log.Name()))
	}()
	return nil
}

func dial(network, address string) error {
	c, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// waitUntil polls check until it returns nil.
func waitUntil(ctx context.Context, what string, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, startTimeout, true,
		func(ctx context.Context) (bool, error) {
			last = check(ctx)
			return last == nil, nil
		})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("wait until %s: %w", what, context.Cause(ctx))
	}
	return fmt.Errorf("timed out waiting until %s: %w", what, last)
}
