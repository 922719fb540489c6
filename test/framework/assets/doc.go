// SPDX-License-Identifier: Apache-2.0

// Package assets provides the Kubernetes programs that tests and the demo run, in the
// versions that hack/controlplane pins.
//
// ControlPlane returns the folder of kube-apiserver and etcd, Node that of kubelet,
// kube-proxy, kube-controller-manager and kube-scheduler. What is missing is downloaded or
// built once, and kept in the user's cache folder. The package imports no Kubernetes
// library, so that it compiles in seconds on a machine with an empty build cache.
package assets
