// SPDX-License-Identifier: Apache-2.0

package buildinfo

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestFrom(t *testing.T) {
	noted := func(modified string) *debug.BuildInfo {
		return &debug.BuildInfo{
			Main:     debug.Module{Version: "v0.0.0-20260102030405-abcdef"},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abcdef"}, {Key: "vcs.modified", Value: modified}},
		}
	}
	tests := map[string]struct {
		version, commit         string
		noted                   *debug.BuildInfo
		wantVersion, wantCommit string
	}{
		"stamped":               {"1.2.3", "123456", noted("true"), "1.2.3", "123456"},
		"noted by go":           {"", "", noted("false"), "v0.0.0-20260102030405-abcdef", "abcdef"},
		"noted, with changes":   {"", "", noted("true"), "v0.0.0-20260102030405-abcdef", "abcdef-dirty"},
		"without version files": {"", "", &debug.BuildInfo{}, "unknown", "unknown"},
		"nothing at all":        {"", "", nil, "unknown", "unknown"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := from(tc.version, tc.commit, tc.noted)
			if got.Version != tc.wantVersion || got.Commit != tc.wantCommit {
				t.Errorf("version %q, commit %q; want %q, %q", got.Version, got.Commit, tc.wantVersion, tc.wantCommit)
			}
			if s := got.String(); !strings.HasPrefix(s, tc.wantVersion+" (commit "+tc.wantCommit+", go1.") {
				t.Errorf("it reads %q", s)
			}
		})
	}
}
