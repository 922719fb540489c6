// SPDX-License-Identifier: Apache-2.0

package assets

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

// source is the module hack/controlplane, which the programs are built from.
type source struct {
	dir        string // absolute
	kubernetes string // version, such as v1.37.2
	etcd       string // version, such as v3.7.0
	key        string // name of the folder of ControlPlane's build; differs if the result could
	nodeKey    string // the same for Node
}

// findSource reads hack/controlplane of the checkout that contains the absolute path from.
func findSource(from string) (source, error) {
	root, err := ModuleRoot(from)
	if err != nil {
		return source{}, err
	}
	return readSource(filepath.Join(root, "hack", "controlplane"))
}

// ModuleRoot returns the nearest folder, from or above, with the main module's go.mod.
// The go.mod files of nested modules are skipped.
func ModuleRoot(from string) (string, error) {
	for dir := from; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && modfile.ModulePath(data) == mainModule {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the project's go.mod: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod of %s in %s or above: run this inside a checkout of it, "+
				"or set %s to a folder with %s and %s", mainModule, from, variable, APIServer, Etcd)
		}
	}
}

func readSource(dir string) (source, error) {
	s := source{dir: dir}
	path := filepath.Join(dir, "go.mod")
	goMod, err := os.ReadFile(path)
	if err != nil {
		return source{}, fmt.Errorf("read the version of the control plane: %w", err)
	}
	etcdMain, err := os.ReadFile(filepath.Join(dir, "etcd", "main.go"))
	if err != nil {
		return source{}, fmt.Errorf("read the source of etcd: %w", err)
	}
	mod, err := modfile.Parse(path, goMod, nil)
	if err != nil {
		return source{}, fmt.Errorf("read the version of the control plane: %w", err)
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
		return source{}, fmt.Errorf("%s does not require both %s and %s: add what is missing",
			path, kubernetesModule, etcdModule)
	}

	args := []byte(strings.Join(buildArgs(s), "\n"))
	platform := runtime.GOOS + "-" + runtime.GOARCH
	s.key = fmt.Sprintf("kubernetes-%s-etcd-%s-%s-%.6x", s.kubernetes, s.etcd, platform, sum(goMod, etcdMain, args))
	s.nodeKey = fmt.Sprintf("node-%s-%s-%.6x", s.kubernetes, platform, sum(goMod, args))
	return s, nil
}

func sum(parts ...[]byte) []byte {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d\n%s", len(part), part) // the length keeps parts from running together
	}
	return hash.Sum(nil)
}
