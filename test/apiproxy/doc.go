// SPDX-License-Identifier: Apache-2.0

// Package apiproxy is an HTTPS proxy before a kube-apiserver, for one client. It injects the faults of API servers and
// of the network before them, and counts them.
//
// Start starts a Proxy, Proxy.Add adds a Rule.
package apiproxy
