// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs kube-apiserver and etcd on this machine's loopback for tests
// and the demo.
//
// Start runs both and returns a ControlPlane, which has the admin's client configuration,
// adds users and installs CRDs. It runs on the Unix systems that envtest supports.
package controlplane
