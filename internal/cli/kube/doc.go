// SPDX-License-Identifier: Apache-2.0

// Package kube provides what the commands of kubectl-teamtalk have in common: access to the cluster, output formats,
// errors and completion.
//
// Access reads the kubeconfig and returns clients. Output prints objects. Explain makes an error one line, and Code
// returns its exit code. Complete suggests names of objects. ForwardPort forwards a local port to a pod.
package kube
