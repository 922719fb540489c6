// Package buildinfo knows which build of the project is running.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by the linker: -X .../internal/buildinfo.version=0.1.0, see the Makefile.
var version, commit string

// unknown stands for what a build does not say of itself.
const unknown = "unknown"

// Info is what a build says of itself.
type Info struct {
	// Version is the release, or Go's own name for a build without one.
	Version string
	// Commit of the source; "-dirty" at its end says that the source was changed.
	Commit string
	// Go is the version of the compiler, Platform what was compiled for.
	Go, Platform string
}

// Get returns what is known of this build: what was stamped into it and, for what
// was not, what the go command noted by itself.
func Get() Info {
	noted, _ := debug.ReadBuildInfo()
	return from(version, commit, noted)
}

func from(version, commit string, noted *debug.BuildInfo) Info {
	i := Info{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if noted != nil {
		if i.Version == "" {
			i.Version = noted.Main.Version
		}
		if i.Commit == "" {
			i.Commit = revision(noted.Settings)
		}
	}
	if i.Version == "" {
		i.Version = unknown
	}
	if i.Commit == "" {
		i.Commit = unknown
	}
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

// String is what --version prints after the program's name.
func (i Info) String() string {
	return fmt.Sprintf("%s (commit %s, %s, %s)", i.Version, i.Commit, i.Go, i.Platform)
}
