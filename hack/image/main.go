// SPDX-License-Identifier: Apache-2.0

// Command image builds the image of a program for each architecture, and writes it as an OCI archive. The same commit
// and toolchain give the same bytes. It needs neither a daemon nor a base image:
//
//	go -C hack/image run . -name registry.example.com/x cmd/teamtalk-operator amd64 arm64
//
// The variables VERSION and COMMIT override what hack/stamp prints.
package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// root is the project's folder: the program runs in its own.
const root = "../.."

func main() {
	b := builder{}
	flag.StringVar(&b.dir, "dir", filepath.Join(root, "bin", "image"), "folder of the archives")
	flag.StringVar(&b.name, "name", "", "the image's name without its tag (default the program's name)")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: image [-dir FOLDER] [-name NAME] PACKAGE [ARCH...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	archs := flag.Args()[1:]
	if len(archs) == 0 {
		archs = []string{runtime.GOARCH}
	}
	if err := b.run(flag.Arg(0), archs); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// builder builds the images of one program.
type builder struct {
	dir, name       string
	pkg, program    string // the main package's folder, relative to root, and its last element
	version, commit string
	created         time.Time
}

func (b *builder) run(pkg string, archs []string) error {
	b.pkg, b.program = pkg, filepath.Base(pkg)
	b.name = cmp.Or(b.name, b.program)
	var err error
	if b.version, err = output("hack/stamp", "version"); err != nil {
		return err
	}
	if b.commit, err = output("hack/stamp", "commit"); err != nil {
		return err
	}
	var seconds int64 // 0 outside a git checkout
	if _, err := os.Stat(".git"); err == nil {
		commitTime, err := output("git", "log", "-1", "--format=%ct")
		if err != nil {
			return err
		}
		if seconds, err = strconv.ParseInt(commitTime, 10, 64); err != nil {
			return fmt.Errorf("read the time of the commit: %w", err)
		}
	}
	b.created = time.Unix(seconds, 0).UTC()
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	for _, arch := range archs {
		archive := filepath.Join(b.dir, fmt.Sprintf("%s-%s-linux-%s.tar", b.program, b.version, arch))
		if err := b.build(arch, archive); err != nil {
			return fmt.Errorf("build %s for linux/%s: %w", b.pkg, arch, err)
		}
		fmt.Printf("image: %s:%s for linux/%s is in %s\n", b.name, b.version, arch, archive)
	}
	return nil
}

// build writes the image of one architecture.
func (b *builder) build(arch, archive string) error {
	temp, err := os.MkdirTemp("", "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	files := filepath.Join(temp, "rootfs")
	rootfs := command("hack/image/rootfs", b.pkg, files)
	rootfs.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch)
	rootfs.Stdout = os.Stderr
	if err := rootfs.Run(); err != nil {
		return fmt.Errorf("hack/image/rootfs: %w", err)
	}
	image, err := b.image(arch, files)
	if err != nil {
		return err
	}
	oci := filepath.Join(temp, "oci")
	path, err := layout.Write(oci, empty.Index)
	if err != nil {
		return err
	}
	name := b.name + ":" + b.version
	ref := map[string]string{"org.opencontainers.image.ref.name": name}
	if err := path.AppendImage(image, layout.WithAnnotations(ref)); err != nil {
		return err
	}
	if err := writeDockerManifest(path, image, name); err != nil {
		return err
	}
	content, err := b.tar(oci)
	if err != nil {
		return err
	}
	return os.WriteFile(archive, content, 0o644)
}

// writeDockerManifest writes the file by which "docker load" finds the image unless it uses
// containerd's image store.
func writeDockerManifest(path layout.Path, image v1.Image, name string) error {
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	blob := func(d v1.Descriptor) string { return "blobs/" + d.Digest.Algorithm + "/" + d.Digest.Hex }
	entry := tarball.Descriptor{Config: blob(manifest.Config), RepoTags: []string{name}}
	for _, layer := range manifest.Layers {
		entry.Layers = append(entry.Layers, blob(layer))
	}
	content, err := json.Marshal(tarball.Manifest{entry})
	if err != nil {
		return err
	}
	return path.WriteFile("manifest.json", content, 0o644)
}

// image returns the image of the files, with the settings of the Dockerfile's last stage.
func (b *builder) image(arch, files string) (v1.Image, error) {
	content, err := b.tar(files)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: b.created}
	const label = "org.opencontainers.image."
	image, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		types.OCIConfigJSON), &v1.ConfigFile{
		OS: "linux", Architecture: arch, Created: created,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       "65532:65532",
			Entrypoint: []string{"/entrypoint"},
			Labels: map[string]string{
				label + "title": b.program, label + "version": b.version, label + "revision": b.commit,
				label + "licenses": "Apache-2.0",
			},
		},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: created}})
}

// tar archives a folder in a fixed order, owned by root and dated with the commit.
func (b *builder) tar(dir string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		header := &tar.Header{
			Name: filepath.ToSlash(name), Mode: int64(info.Mode().Perm() &^ 0o022), ModTime: b.created,
		}
		switch entry.Type() {
		case fs.ModeDir:
			header.Typeflag = tar.TypeDir
		case fs.ModeSymlink:
			header.Typeflag = tar.TypeSymlink
			if header.Linkname, err = os.Readlink(path); err != nil {
				return err
			}
		default:
			header.Typeflag, header.Size = tar.TypeReg, info.Size()
		}
		if err := w.WriteHeader(header); err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// command returns a command that runs in the root, which a name with a slash is relative to.
func command(name string, args ...string) *exec.Cmd {
	if strings.Contains(name, "/") {
		name = filepath.Join(root, name)
	}
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	return cmd
}

func output(name string, args ...string) (string, error) {
	out, err := command(name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}
