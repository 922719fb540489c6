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
	// Config and Kubeconfig, a path, are the admin's.
	Config     *rest.Config
	Kubeconfig string
}

// Start starts the node in the namespaces of Run and returns when it is Ready.
func Start(ctx context.Context, o Options) (*Node, error) {
	if !Inside() {
		return nil, errors.New("a node starts only in the namespaces that Run creates")
	}
	n := &Node{settings: settings{Options: o, dir: Dir()}}
	return n, framework.Try(func() {
		n.snapshotter = snapshotter()
		setUpNetwork(ctx)
		n.pki = newPKI(filepath.Join(n.dir, "pki"))
		n.Kubeconfig = n.pki.kubeconfig("admin", serverURL, "admin", "system:masters")
		n.Config = n.pki.config("admin", serverURL)
		n.startAll(ctx)
	})
}

// KubeconfigIn returns the path of the admin's kubeconfig of a node in dir.
func KubeconfigIn(dir string) string { return filepath.Join(dir, "pki", "admin.Kubeconfig") }

// Describe returns a line with the versions of the node's programs.
func (n *Node) Describe(ctx context.Context) (string, error) {
	client, err := kubernetes.NewForConfig(n.Config)
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

func setUpNetwork(ctx context.Context) {
	for _, args := range []string{
		"link set lo up", "link add node0 type bridge", "address add " + address + "/24 dev node0", "link set node0 up",
	} {
		out, err := exec.CommandContext(ctx, "ip", strings.Fields(args)...).CombinedOutput()
		framework.Mustf(err, "set up the node's network: ip %s: %s", args, strings.TrimSpace(string(out)))
	}
	// Pods' packets are forwarded.
	framework.Must(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
}

func (n *Node) startAll(ctx context.Context) {
	etcd, api := n.controlPlane()
	containerd, clients := n.containerd(), n.apiClients()
	client := framework.MustGet(kubernetes.NewForConfig(n.Config))
	n.run(etcd)
	n.run(containerd)
	waitUntil(ctx, "etcd and containerd listen", func(context.Context) error {
		return errors.Join(dial("tcp", strings.TrimPrefix(etcdURL, "http://")), dial("unix", containerdSocket))
	})
	n.run(api)
	framework.Must(n.Import(ctx, n.Archive)) // while kube-apiserver starts
	waitUntil(ctx, "kube-apiserver is ready", func(ctx context.Context) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	for _, p := range clients {
		n.run(p)
	}
	waitUntil(ctx, "the node is Ready", func(ctx context.Context) error { return n.ready(ctx, client) })
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
func (n *Node) run(p program) {
	log := framework.MustGet(os.Create(filepath.Join(n.Logs, p.name+".log")))
	path := filepath.Join(p.folder, p.name)
	if p.folder == "" {
		path = framework.MustGet(exec.LookPath(p.name))
	}
	tail := &controlplane.Tail{Out: log}
	process := framework.MustGet(framework.Start(path, tail, p.args...))
	go func() {
		<-process.Ended()
		n.Failed(fmt.Errorf("%s ended (%w): %s; see %s", p.name, process.Err(), tail.Reason(), log.Name()))
	}()
}

func dial(network, address string) error {
	c, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

func waitUntil(ctx context.Context, what string, check func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	framework.Must(framework.Await(ctx, what, framework.Retried(
		func(ctx context.Context) (string, bool, error) { return "", true, check(ctx) })))
}
