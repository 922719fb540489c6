// SPDX-License-Identifier: Apache-2.0

//go:build race

package framework

// RaceFlags give what is built the race detector where this program has it.
var RaceFlags = []string{"-race"}
