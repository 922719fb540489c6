// SPDX-License-Identifier: Apache-2.0

package buildinfo

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

const unknown = "unknown"

// Set by the linker: -X .../internal/buildinfo.version=0.1.0, see the Makefile.
var version, commit string

// Info describes a build.
type Info struct {
	// Version is the release, or Go's pseudo-version.
	Version string
	// Commit of the source, with the suffix "-dirty" if it was modified.
	Commit string
	// Go is the version of the compiler, Platform is GOOS/GOARCH.
	Go, Platform string
}

// Get returns the values of the linker flags, and otherwise those that the go command recorded.
func Get() Info {
	recorded, _ := debug.ReadBuildInfo()
	return from(version, commit, recorded)
}

func from(version, commit string, recorded *debug.BuildInfo) Info {
	i := Info{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if recorded != nil {
		i.Version = cmp.Or(i.Version, recorded.Main.Version)
		i.Commit = cmp.Or(i.Commit, revision(recorded.Settings))
	}
	i.Version, i.Commit = cmp.Or(i.Version, unknown), cmp.Or(i.Commit, unknown)
	return i
}

func revision(settings []debug.BuildSetting) string {
	var commit, dirty string
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + dirty
}

// String is for --version.
func (i Info) String() string {
	return fmt.Sprintf("%s (commit %s, %s, %s)", i.Version, i.Commit, i.Go, i.Platform)
}
