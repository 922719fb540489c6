// SPDX-License-Identifier: Apache-2.0

// Command push pushes the OCI archives of one program, one for each architecture, as one image. It prints the image's
// name with the digest:
//
//	go -C hack/image run ./push registry.example.com/x:0.1.0 ARCHIVE...
//
// With -archive it also writes the image for all architectures as an OCI archive.
package main

import (
	"archive/tar"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	archive := flag.String("archive", "", "also write an OCI archive")
	insecure := flag.Bool("insecure", false, "use a registry without TLS")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: push [-archive FILE] [-insecure] NAME:TAG ARCHIVE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Args()[1:], *archive, *insecure); err != nil {
		fmt.Fprintln(os.Stderr, "push:", err)
		os.Exit(1)
	}
}

func run(image string, archives []string, archive string, insecure bool) error {
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	tag, err := name.NewTag(image, append(options, name.StrictValidation)...)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "push-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, file := range archives {
		dir := filepath.Join(temp, fmt.Sprint(i))
		if err := unpack(file, dir); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if index, err = appendImages(index, dir); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
	}
	if archive != "" {
		if err := write(index, archive, image, filepath.Join(temp, "all")); err != nil {
			return fmt.Errorf("write %s: %w", archive, err)
		}
	}
	if err := remote.WriteIndex(tag, index, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push %s: %w", image, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s@%s\n", tag.Context().Name(), digest)
	return nil
}

// appendImages adds the images of a layout with their platforms.
func appendImages(index v1.ImageIndex, dir string) (v1.ImageIndex, error) {
	path, err := layout.FromPath(dir)
	if err != nil {
		return nil, err
	}
	from, err := path.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := from.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, descriptor := range manifest.Manifests {
		image, err := from.Image(descriptor.Digest)
		if err != nil {
			return nil, err
		}
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture}},
		})
	}
	return index, nil
}

func unpack(archive, dir string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if !filepath.IsLocal(header.Name) {
			return fmt.Errorf("%s is outside of the archive", header.Name)
		}
		to := filepath.Join(dir, header.Name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, content, 0o644); err != nil {
			return err
		}
	}
}

// write writes an index as an OCI archive, in the same bytes for the same index.
func write(index v1.ImageIndex, archive, image, dir string) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	ref := map[string]string{"org.opencontainers.image.ref.name": image[strings.LastIndex(image, ":")+1:]}
	if err := path.AppendIndex(index, layout.WithAnnotations(ref)); err != nil {
		return err
	}
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	err = filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	return errors.Join(err, w.Close(), out.Close())
}
