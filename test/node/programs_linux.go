// SPDX-License-Identifier: Apache-2.0

package node

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// Addresses in the node's network namespace.
const (
	address     = "10.250.0.1"
	podRange    = "10.244.0.0/24"
	serviceNet  = "10.96.0.0/24"
	apiService  = "10.96.0.1" // the first address of serviceNet
	nodeName    = "teamtalk-node"
	apiPort     = "6443"
	etcdURL     = "http://127.0.0.1:2379"
	etcdPeerURL = "http://127.0.0.1:2380"
	serverURL   = "https://" + address + ":" + apiPort
)

type program struct {
	name   string
	folder string // of the binary; if empty, it is in PATH
	args   []string
}

// settings determine the flags and files of the programs.
type settings struct {
	Options
	dir string
	pki *pki
}

func (s *settings) controlPlane() (etcd, api program) {
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	s.pki.server("kube-apiserver", names, address, apiService, "127.0.0.1")
	s.pki.client("kubelet-client", "kube-apiserver", "system:masters")
	s.pki.client("service-accounts", "service-accounts") // only its key is used
	etcd = program{"etcd", s.ControlPlane, []string{
		"--data-dir=" + filepath.Join(s.dir, "etcd"), "--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=" + etcdPeerURL, "--initial-advertise-peer-urls=" + etcdPeerURL,
		"--initial-cluster=default=" + etcdPeerURL,
		"--unsafe-no-fsync", // the data need not survive the machine
	}}
	api = program{"kube-apiserver", s.ControlPlane, []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=0.0.0.0", "--secure-port=" + apiPort, "--advertise-address=" + address,
		"--tls-cert-file=" + s.pki.certFile("kube-apiserver"), "--tls-private-key-file=" + s.pki.keyFile("kube-apiserver"),
		"--client-ca-file=" + s.pki.certFile("ca"),
		"--kubelet-client-certificate=" + s.pki.certFile("kubelet-client"),
		"--kubelet-client-key=" + s.pki.keyFile("kubelet-client"),
		"--kubelet-certificate-authority=" + s.pki.certFile("ca"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + s.pki.keyFile("service-accounts"),
		"--service-account-signing-key-file=" + s.pki.keyFile("service-accounts"),
		"--service-cluster-ip-range=" + serviceNet,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--profiling=false",
	}}
	return etcd, api
}

// apiClients returns the clients of the API server: the controllers, the scheduler, kubelet and kube-proxy.
func (s *settings) apiClients() []program {
	s.pki.server("kubelet", []string{nodeName}, address)
	user := func(name string) string { return s.pki.kubeconfig(name, serverURL, "system:"+name) }
	kubeletUser := s.pki.kubeconfig("kubelet-user", serverURL, "system:node:"+nodeName, "system:nodes")
	kubelet := s.write("kubelet.yaml", kubeletConfig,
		"CA", s.pki.certFile("ca"), "CERT", s.pki.certFile("kubelet"), "KEY", s.pki.keyFile("kubelet"),
		"ADDRESS", address, "CGROUP", "/"+cgroupName(s.dir), "SOCKET", containerdSocket,
		"RESOLV", s.write("resolv.conf", "")) // there is no DNS server
	proxy := s.write("kube-proxy.yaml", proxyConfig, "KUBECONFIG", user("kube-proxy"), "NODE", nodeName, "PODS", podRange)
	return []program{
		{"kube-controller-manager", s.Node, []string{
			"--kubeconfig=" + user("kube-controller-manager"), "--leader-elect=false", "--bind-address=127.0.0.1",
			"--service-account-private-key-file=" + s.pki.keyFile("service-accounts"), "--root-ca-file=" + s.pki.certFile("ca"),
			"--use-service-account-credentials=true", "--profiling=false",
		}},
		{"kube-scheduler", s.Node, []string{
			"--kubeconfig=" + user("kube-scheduler"), "--leader-elect=false", "--bind-address=127.0.0.1",
			"--profiling=false",
		}},
		{"kubelet", s.Node, []string{
			"--config=" + kubelet, "--kubeconfig=" + kubeletUser, "--hostname-override=" + nodeName,
			"--node-ip=" + address,
		}},
		{"kube-proxy", s.Node, []string{"--config=" + proxy}},
	}
}

// kubeletConfig disables garbage collection and eviction: a full disk must not end the pods under test.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {ADDRESS}
tlsCertFile: {CERT}
tlsPrivateKeyFile: {KEY}
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: {CA}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://{SOCKET}
cgroupDriver: cgroupfs
cgroupRoot: {CGROUP}
failCgroupV1: false
failSwapOn: false
resolvConf: {RESOLV}
volumePluginDir: /var/lib/kubelet/volume-plugins
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard:
  memory.available: "0%"
  nodefs.available: "0%"
  nodefs.inodesFree: "0%"
  imagefs.available: "0%"
  imagefs.inodesFree: "0%"
`

// proxyConfig masquerades all traffic to Services, because pods on one bridge would answer each other directly.
const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: {KUBECONFIG}}
hostnameOverride: {NODE}
clusterCIDR: {PODS}
bindAddress: 127.0.0.1
healthzBindAddress: ""
metricsBindAddress: 127.0.0.1:10249
iptables: {masqueradeAll: true, minSyncPeriod: 0s}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`

// write writes a file with values for the names in braces, and returns its path.
func (s *settings) write(name, text string, values ...string) string {
	for i, v := range values {
		if i%2 == 0 {
			values[i] = "{" + v + "}"
		}
	}
	path := filepath.Join(s.dir, name)
	framework.Must(os.MkdirAll(filepath.Dir(path), 0o755))
	framework.Must(os.WriteFile(path, []byte(strings.NewReplacer(values...).Replace(text)), 0o600))
	return path
}
