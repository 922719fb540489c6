// Package node brings up a whole Kubernetes of one node on this machine: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kube-proxy as
// processes, on Debian's containerd, runc and CNI plugins.
//
// It leaves nothing behind, however it ends. Run starts the calling program once
// more in namespaces of its own: of processes, so that the kernel ends all of them
// with the first one; of mounts, so that /run, /var/lib and /var/log are folders of
// a temporary one, and a containerd that the machine runs itself is not touched; and
// of the network, so that bridges, addresses and iptables' rules are nobody else's.
// What no namespace holds, control groups, Run removes.
package node
