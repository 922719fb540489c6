//go:build !race

package harness

// RaceFlags give what is built the race detector where this program has it.
var RaceFlags []string
