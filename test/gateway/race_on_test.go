//go:build race

package gateway

// buildFlags give the operator's binary the race detector where the tests have it.
var buildFlags = []string{"-race"}
