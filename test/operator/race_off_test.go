//go:build !race

package operator

var buildFlags []string
