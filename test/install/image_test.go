// SPDX-License-Identifier: Apache-2.0

package install

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImage builds the image and runs its program as Kubernetes does: as a user without a
// name, with no other files than the image's. A second build gives the same bytes.
func TestImage(t *testing.T) {
	t.Parallel()
	var archives [2][]byte
	for i := range archives {
		dir := t.TempDir()
		build := exec.CommandContext(t.Context(), "go", "-C", filepath.Join(shared.root, "hack", "image"), "run", ".",
			"-dir", dir, "-name", "example.com/"+name, "cmd/"+name)
		build.Env = append(os.Environ(), "VERSION=1.2.3-test", "COMMIT=c0ffee")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var err error
		archives[i], err = os.ReadFile(filepath.Join(dir, name+"-1.2.3-test-linux-"+runtime.GOARCH+".tar"))
		must(t, err)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds differ")
	}
	image := readImage(t, archives[0])

	user, entrypoint, labels := declaredConfig(t)
	if image.OS != "linux" || image.Architecture != runtime.GOARCH || image.Config.User != user ||
		!slices.Equal(image.Config.Entrypoint, entrypoint) || !slices.Equal(slices.Sorted(maps.Keys(image.Config.Labels)), labels) {
		t.Errorf("the image is %+v, want user %s, entrypoint %q, labels %q", image, user, entrypoint, labels)
	}
	for label, want := range map[string]string{"title": name, "version": "1.2.3-test", "revision": "c0ffee", "licenses": "Apache-2.0"} {
		if got := image.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	root := t.TempDir()
	got := image.unpack(t, root)
	if diff := cmp.Diff([]string{"entrypoint", "etc/ssl/certs/ca-certificates.crt", name}, got); diff != "" {
		t.Errorf("the image has other files than it should:\n%s", diff)
	}
	binary, err := elf.Open(filepath.Join(root, name))
	must(t, err)
	defer binary.Close()
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program is not static")
		}
	}

	if runtime.GOOS != "linux" {
		return // the program is built for Linux
	}
	must(t, os.Chmod(root, 0o755))
	// The image's user, and one that OpenShift chooses.
	for _, user := range []syscall.Credential{{Uid: 65532, Gid: 65532}, {Uid: 1000680000, Gid: 0}} {
		run := exec.CommandContext(t.Context(), "/entrypoint", "--version")
		run.Dir = "/"
		if os.Geteuid() == 0 {
			run.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &user}
		} else {
			run.Path = filepath.Join(root, name)
		}
		run.Env = []string{}
		out, err := run.CombinedOutput()
		if want := name + " version 1.2.3-test (commit c0ffee, go"; err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("as user %d it says %q, %v; want %q", user.Uid, out, err, want)
		}
	}
}

// image has the checked parts of an OCI image.
type image struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Config       struct {
		User       string
		Entrypoint []string
		Labels     map[string]string
	} `json:"config"`

	layers [][]byte
}

type descriptor struct {
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
}

func readImage(t *testing.T, archive []byte) *image {
	t.Helper()
	files := map[string][]byte{}
	must(t, eachFile(bytes.NewReader(archive), func(h *tar.Header, content []byte) error {
		files[path.Clean(h.Name)] = content
		return nil
	}))
	blob := func(d descriptor) []byte {
		b, ok := files["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
		if !ok {
			t.Fatalf("the archive lacks %s", d.Digest)
		}
		return b
	}
	var index struct{ Manifests []descriptor }
	must(t, json.Unmarshal(files["index.json"], &index))
	if len(index.Manifests) != 1 {
		t.Fatalf("the archive has %d images", len(index.Manifests))
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	must(t, json.Unmarshal(blob(index.Manifests[0]), &manifest))
	i := &image{}
	must(t, json.Unmarshal(blob(manifest.Config), i))
	for _, l := range manifest.Layers {
		layer := blob(l)
		if strings.HasSuffix(l.MediaType, "gzip") {
			r, err := gzip.NewReader(bytes.NewReader(layer))
			must(t, err)
			layer, err = io.ReadAll(r)
			must(t, err)
		}
		i.layers = append(i.layers, layer)
	}
	return i
}

// unpack writes the image's files to root and returns their names.
func (i *image) unpack(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	for _, layer := range i.layers {
		must(t, eachFile(bytes.NewReader(layer), func(h *tar.Header, content []byte) error {
			to := filepath.Join(root, filepath.FromSlash(path.Clean("/"+h.Name)))
			switch h.Typeflag {
			case tar.TypeDir:
				return os.MkdirAll(to, 0o755)
			case tar.TypeSymlink:
				files = append(files, strings.TrimPrefix(path.Clean("/"+h.Name), "/"))
				return os.Symlink(h.Linkname, to)
			case tar.TypeReg:
				files = append(files, strings.TrimPrefix(path.Clean("/"+h.Name), "/"))
				if h.Mode&0o022 != 0 || h.Uid != 0 {
					return fmt.Errorf("%s can be written to by others: mode %o, owner %d", h.Name, h.Mode, h.Uid)
				}
				return os.WriteFile(to, content, os.FileMode(h.Mode))
			}
			return fmt.Errorf("%s is of the type %c", h.Name, h.Typeflag)
		}))
	}
	slices.Sort(files)
	return files
}

func eachFile(r io.Reader, do func(*tar.Header, []byte) error) error {
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return err
		}
		if err := do(h, content); err != nil {
			return err
		}
	}
}
