// SPDX-License-Identifier: Apache-2.0

// Package faultproxy is a TCP proxy for TeamTalk's frames, before a db_proxy or a router. It injects the faults of
// networks and crashing servers, and counts them.
//
// Start starts a Proxy, Proxy.Add adds a Rule.
package faultproxy
