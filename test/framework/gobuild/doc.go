// SPDX-License-Identifier: Apache-2.0

// Package gobuild builds programs with the go command and logs the progress.
//
// Build downloads modules and compiles. Report and Since log the progress of anything else
// that takes long. The package imports the standard library alone, so that it compiles in
// seconds on a machine with an empty build cache.
package gobuild
