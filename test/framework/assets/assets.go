// SPDX-License-Identifier: Apache-2.0

package assets

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/tools/setup-envtest/store"
)

// The programs of a control plane.
const (
	APIServer = "kube-apiserver"
	Etcd      = "etcd"
)

// variable names a folder with the programs. envtest and its tools read it too.
const variable = "KUBEBUILDER_ASSETS"

// Logf logs one line of progress, without a newline.
type Logf = func(format string, args ...any)

// LogTo returns log, or a function that writes to standard error if log is nil.
func LogTo(log Logf) Logf {
	if log != nil {
		return log
	}
	return func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
}

// ControlPlane returns a folder that holds kube-apiserver and etcd, the first of:
//
//   - KUBEBUILDER_ASSETS, if it is set: an error if a program is missing there;
//   - an earlier build in the user's cache folder;
//   - a release of the same Kubernetes minor version in setup-envtest's store,
//     downloaded if possible;
//   - a build from hack/controlplane, which takes minutes.
//
// Concurrent callers, of other processes too, wait for each other and share the result.
// An interrupted call leaves nothing that looks finished. Progress is logged at least
// every ten seconds, to standard error if log is nil.
func ControlPlane(ctx context.Context, log Logf) (dir string, err error) {
	f := finder{log: LogTo(log), fixed: os.Getenv(variable), programs: controlPlanePrograms, build: buildControlPlane}
	if f.fixed != "" {
		return f.find(ctx)
	}
	if f.source, f.cache, err = locate(); err != nil {
		return "", err
	}
	if f.download.store, err = store.DefaultStoreDir(); err != nil {
		f.log("setup-envtest's store is not used: %v", err)
	}
	return f.find(ctx)
}

// Node returns a folder that holds kubelet, kube-proxy, kube-controller-manager and
// kube-scheduler. No release of them exists for tests, so they are built on first use.
func Node(ctx context.Context, log Logf) (dir string, err error) {
	f := finder{log: LogTo(log), programs: nodePrograms, build: buildNode}
	if f.source, f.cache, err = locate(); err != nil {
		return "", err
	}
	f.source.key = f.source.nodeKey
	return f.find(ctx)
}

// locate returns what the programs are built from and the folder that keeps builds.
func locate() (source, string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return source{}, "", fmt.Errorf("get the working directory: %w", err)
	}
	s, err := findSource(wd)
	if err != nil {
		return source{}, "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return source{}, "", fmt.Errorf("find the cache folder: %w; set HOME, or set %s to a folder with %s and %s",
			err, variable, APIServer, Etcd)
	}
	return s, filepath.Join(cache, "teamtalk-operator", "controlplane"), nil
}
