// SPDX-License-Identifier: Apache-2.0

// Package app is the operator's process: its options, its manager and the wiring of its components.
//
// Run runs an operator with Options. wire is the list of everything that runs in it.
package app
