// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// archive writes a tar.gz with files, and returns its checksum. Programs can be executed.
func archive(t *testing.T, path string, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	w := tar.NewWriter(zipped)
	for _, name := range files {
		mode := int64(0o644)
		if strings.HasPrefix(name, "./"+program) {
			mode = 0o755
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(name))}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, name)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b.Bytes()))
}

// plugin is the shape of a manifest, as Krew reads it.
type plugin struct {
	APIVersion, Kind string
	Metadata         struct{ Name string }
	Spec             struct {
		Version, Homepage, ShortDescription, Description, Caveats string
		Platforms                                                 []struct {
			URI, SHA256, Bin string
			Selector         struct{ MatchLabels struct{ OS, Arch string } }
		}
	}
}

// TestFinish checks the finished manifest of the project by Krew's rules.
func TestFinish(t *testing.T) {
	const version = "1.2.3-rc.1"
	manifest, err := os.ReadFile("teamtalk.yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	sums := map[string]string{}
	for _, target := range []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64"} {
		bin := program
		if strings.HasPrefix(target, "windows") {
			bin += ".exe"
		}
		path := filepath.Join(folder, program+"-"+version+"-"+target+".tar.gz")
		sums[target] = archive(t, path, "./", "./LICENSE", "./"+bin)
	}
	archive(t, filepath.Join(folder, program+"-1.2.2-linux-amd64.tar.gz"), "./LICENSE", "./"+program)
	finished, err := finish(manifest, version, folder)
	if err != nil {
		t.Fatal(err)
	}
	var p plugin
	if err := yaml.UnmarshalStrict(finished, &p); err != nil {
		t.Fatal(err)
	}
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "teamtalk" {
		t.Errorf("it is a %s %s of the name %s", p.APIVersion, p.Kind, p.Metadata.Name)
	}
	semver := regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	s := p.Spec
	if s.Version != "v"+version || !semver.MatchString(s.Version) || s.Description == "" || s.Caveats == "" ||
		s.ShortDescription == "" || len(s.ShortDescription) > 50 || strings.Contains(s.ShortDescription, "\n") {
		t.Errorf("the spec is not as Krew wants it: %+v", s)
	}
	for _, of := range s.Platforms {
		target := of.Selector.MatchLabels.OS + "-" + of.Selector.MatchLabels.Arch
		bin := program
		if of.Selector.MatchLabels.OS == "windows" {
			bin += ".exe"
		}
		uri := s.Homepage + "/releases/download/v" + version + "/" + program + "-" + version + "-" + target + ".tar.gz"
		if of.URI != uri || !strings.HasPrefix(uri, "https://") || of.SHA256 != sums[target] || of.Bin != bin {
			t.Errorf("platform %s is %+v, want %s with %s", target, of, uri, sums[target])
		}
		delete(sums, target)
	}
	if len(sums) != 0 {
		t.Errorf("platforms are missing: %v", sums)
	}
}

func TestFinishRefuses(t *testing.T) {
	const valid = "spec: {homepage: https://example.com}"
	tests := map[string]struct {
		manifest, name string
		files          []string
		wantErr        string
	}{
		"no archive of the version":  {valid, program + "-1.0.1-linux-amd64.tar.gz", nil, "has no archive of kubectl-teamtalk 1.0.0"},
		"no licence":                 {valid, program + "-1.0.0-linux-amd64.tar.gz", []string{"./" + program}, "no LICENSE"},
		"the program of another one": {valid, program + "-1.0.0-windows-amd64.tar.gz", []string{"./LICENSE", "./" + program}, "no kubectl-teamtalk.exe"},
		"no architecture":            {valid, program + "-1.0.0-linux.tar.gz", []string{"./LICENSE", "./" + program}, "SYSTEM-ARCHITECTURE"},
		"no spec":                    {"kind: Plugin", program + "-1.0.0-linux-amd64.tar.gz", nil, "no spec"},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			folder := t.TempDir()
			archive(t, filepath.Join(folder, tc.name), tc.files...)
			if _, err := finish([]byte(tc.manifest), "1.0.0", folder); err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("%v, want %q", err, tc.wantErr)
			}
		})
	}
}
