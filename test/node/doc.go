// SPDX-License-Identifier: Apache-2.0

// Package node runs a Kubernetes cluster of one node on this machine: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, kubelet and kube-proxy, with the machine's
// containerd, runc and CNI plugins.
//
// Check reports what the machine lacks. Run starts the calling program again in namespaces of its own, where Start
// starts the node. Gone reports remains afterwards.
//
// The namespaces isolate the node from the machine:
//   - processes: the kernel kills all of them with the first one;
//   - mounts: /run, /var/lib and /var/log are temporary folders, so that the machine's own
//     containerd is not affected;
//   - network: bridges, addresses and iptables rules are the node's own.
//
// Control groups have no such namespace. Run removes them.
package node
