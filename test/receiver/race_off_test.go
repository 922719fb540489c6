//go:build !race

package receiver

var buildFlags []string
