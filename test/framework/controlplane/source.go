package controlplane

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/mod/modfile"
)

const (
	mainModule       = "github.com/teamtalk-io/teamtalk-operator"
	kubernetesModule = "k8s.io/kubernetes"
	etcdModule       = "go.etcd.io/etcd/server/v3"
)

// source is hack/controlplane, from which the programs are built.
type source struct {
	dir        string // absolute
	kubernetes string // version, such as v1.37.2
	etcd       string // version, such as v3.7.0
	key        string // names a build's folder; differs if a build could differ
	nodeKey    string // the same of the build of NodeAssets
}

// findSource reads hack/controlplane of the checkout that from, absolute, is in.
func findSource(from string) (source, error) {
	root, err := moduleRoot(from)
	if err != nil {
		return source{}, err
	}
	return readSource(filepath.Join(root, "hack", "controlplane"))
}

// moduleRoot is the nearest folder, from or above, with the main module's
// go.mod; those of the modules inside it are passed by.
func moduleRoot(from string) (string, error) {
	for dir := from; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && modfile.ModulePath(data) == mainModule {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for the project's go.mod: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod of %s in %s or above: run this inside a checkout of it, or set %s to a folder with %s and %s",
				mainModule, from, assetsVariable, apiServerName, etcdName)
		}
	}
}

func readSource(dir string) (source, error) {
	s := source{dir: dir}
	path := filepath.Join(dir, "go.mod")
	goMod, err := os.ReadFile(path)
	if err != nil {
		return source{}, fmt.Errorf("read how the control plane is built: %w", err)
	}
	etcdMain, err := os.ReadFile(filepath.Join(dir, "etcd", "main.go"))
	if err != nil {
		return source{}, fmt.Errorf("read how etcd is built: %w", err)
	}
	mod, err := modfile.Parse(path, goMod, nil)
	if err != nil {
		return source{}, fmt.Errorf("read how the control plane is built: %w", err)
	}
	for _, r := range mod.Require {
		switch r.Mod.Path {
		case kubernetesModule:
			s.kubernetes = r.Mod.Version
		case etcdModule:
			s.etcd = r.Mod.Version
		}
	}
	if s.kubernetes == "" || s.etcd == "" {
		return source{}, fmt.Errorf("%s does not require both %s and %s: add what is missing", path, kubernetesModule, etcdModule)
	}

	args := []byte(strings.Join(buildArgs(s), "\n"))
	s.key = fmt.Sprintf("kubernetes-%s-etcd-%s-%s-%s-%.6x", s.kubernetes, s.etcd, runtime.GOOS, runtime.GOARCH, sum(goMod, etcdMain, args))
	s.nodeKey = fmt.Sprintf("node-%s-%s-%s-%.6x", s.kubernetes, runtime.GOOS, runtime.GOARCH, sum(goMod, args))
	return s, nil
}

func sum(parts ...[]byte) []byte {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d\n%s", len(part), part) // the length keeps parts from running together
	}
	return hash.Sum(nil)
}
