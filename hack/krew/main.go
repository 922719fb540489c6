// SPDX-License-Identifier: Apache-2.0

// Command krew prints the manifest of kubectl-teamtalk for Krew: hack/krew/teamtalk.yaml with the version, and with a
// platform for each archive of a release.
//
//	go run ./hack/krew VERSION FOLDER >teamtalk.yaml
//
// It must run in the project's root.
package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// program is the plugin, and the beginning of the archives' names.
const program = "kubectl-teamtalk"

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: go run ./hack/krew VERSION FOLDER")
	}
	manifest, err := os.ReadFile(filepath.Join("hack", "krew", "teamtalk.yaml"))
	if err != nil {
		return err
	}
	finished, err := finish(manifest, args[0], args[1])
	if err != nil {
		return err
	}
	_, err = out.Write(finished)
	return err
}

// finish adds the version and the platforms of the archives in a folder.
func finish(manifest []byte, version, folder string) ([]byte, error) {
	plugin := map[string]any{}
	if err := yaml.UnmarshalStrict(manifest, &plugin); err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	spec, ok := plugin["spec"].(map[string]any)
	if !ok {
		return nil, errors.New("the manifest has no spec")
	}
	archives, err := filepath.Glob(filepath.Join(folder, program+"-"+version+"-*.tar.gz"))
	if err != nil {
		return nil, err
	}
	if len(archives) == 0 {
		return nil, fmt.Errorf("%s has no archive of %s %s: build them first", folder, program, version)
	}
	var platforms []any
	for _, archive := range archives {
		p, err := platform(archive, version, fmt.Sprint(spec["homepage"]))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", archive, err)
		}
		platforms = append(platforms, p)
	}
	spec["version"], spec["platforms"] = "v"+version, platforms
	return yaml.Marshal(plugin)
}

// platform describes an archive, whose name ends in the operating system and the architecture.
func platform(archive, version, homepage string) (map[string]any, error) {
	name := filepath.Base(archive)
	target := strings.TrimSuffix(strings.TrimPrefix(name, program+"-"+version+"-"), ".tar.gz")
	system, arch, ok := strings.Cut(target, "-")
	if !ok {
		return nil, errors.New("the name does not end in SYSTEM-ARCHITECTURE.tar.gz")
	}
	bin := program
	if system == "windows" {
		bin += ".exe"
	}
	sum, err := checkArchive(archive, bin)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{"os": system, "arch": arch}},
		"uri":      homepage + "/releases/download/v" + version + "/" + name,
		"sha256":   sum,
		"bin":      bin,
	}, nil
}

// checkArchive returns the checksum of an archive. Krew refuses one without a licence or without the program.
func checkArchive(archive, bin string) (string, error) {
	file, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	tee := io.TeeReader(file, hash)
	unzipped, err := gzip.NewReader(tee)
	if err != nil {
		return "", err
	}
	missing := map[string]bool{bin: true, "LICENSE": true}
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		if name := path.Clean(header.Name); name != bin || header.FileInfo().Mode()&0o111 != 0 {
			delete(missing, name)
		}
	}
	for name := range missing {
		return "", fmt.Errorf("it has no %s, or one that cannot be executed", name)
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
