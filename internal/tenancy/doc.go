// SPDX-License-Identifier: Apache-2.0

// Package tenancy decides which namespaces may use a TeamTalkServer.
//
// FindServer is its entry point.
package tenancy
