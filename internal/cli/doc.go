// SPDX-License-Identifier: Apache-2.0

// Package cli provides kubectl-teamtalk, a plugin of kubectl for people who send TeamTalk messages and run servers.
//
// Run runs it. NewCommand returns its commands.
package cli
