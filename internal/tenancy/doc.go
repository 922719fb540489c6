// SPDX-License-Identifier: Apache-2.0

// Package tenancy decides which namespaces may use a TeamTalkServer, and which endpoints the TeamTalkServers of a
// namespace may name.
//
// FindServer returns a server that a namespace may use. Admits and Labels are for servers that admit each other.
// ParseEndpoints reads the endpoints.
package tenancy
