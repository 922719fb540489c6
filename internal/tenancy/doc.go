// SPDX-License-Identifier: Apache-2.0

// Package tenancy decides which namespaces may use a TeamTalkServer, and which endpoints the TeamTalkServers of a
// namespace may name.
//
// FindServer and ParseEndpoints are its entry points.
package tenancy
