// SPDX-License-Identifier: Apache-2.0

// Package buildinfo describes the build of the running program.
//
// Get returns the values that the linker or the go command recorded.
package buildinfo
