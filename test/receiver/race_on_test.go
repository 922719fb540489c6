//go:build race

package receiver

// buildFlags give the programs' binaries the race detector where the tests have it.
var buildFlags = []string{"-race"}
