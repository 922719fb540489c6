// SPDX-License-Identifier: Apache-2.0

package assets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gofrs/flock"
)

// writePrograms writes empty executables into dir and returns dir.
func writePrograms(t *testing.T, dir string, names ...string) string {
	t.Helper()
	noError(t, os.MkdirAll(dir, 0o755))
	for _, name := range names {
		noError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o755))
	}
	return dir
}

type logBuffer struct {
	mu    sync.Mutex
	lines []string
	first chan struct{} // closed at the first line, if not nil
}

func (b *logBuffer) log(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
	if b.first != nil && len(b.lines) == 1 {
		close(b.first)
	}
}

func (b *logBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "\n")
}

func newFinder(t *testing.T, b *logBuffer) *finder {
	return &finder{
		log:      b.log,
		source:   source{kubernetes: "v1.37.2", key: "key"},
		cache:    filepath.Join(t.TempDir(), "cache"),
		programs: controlPlanePrograms,
		build: func(_ context.Context, _ Logf, _ source, dir string) error {
			writePrograms(t, dir, APIServer, Etcd)
			return nil
		},
	}
}

func TestFindOrder(t *testing.T) {
	release := filepath.Join("k8s", platformDir("1.37.2"))
	for name, test := range map[string]struct {
		fixed, cached, stored bool
		want                  string // folder, below the test's
	}{
		"fixed first":             {fixed: true, cached: true, stored: true, want: "fixed"},
		"cached before the store": {cached: true, stored: true, want: "cache/key"},
		"stored before building":  {stored: true, want: filepath.Join("store", release)},
		"built if nothing else":   {want: "cache/key"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFinder(t, &logBuffer{})
			root := filepath.Dir(f.cache)
			f.download = download{store: filepath.Join(root, "store"), index: "http://127.0.0.1:0"}
			if test.fixed {
				f.fixed = writePrograms(t, filepath.Join(root, "fixed"), APIServer, Etcd)
			}
			if test.cached {
				writePrograms(t, filepath.Join(f.cache, "key"), APIServer, Etcd)
			}
			if test.stored {
				writePrograms(t, filepath.Join(root, "store", release), APIServer, Etcd)
			}
			got, err := f.find(t.Context())
			if want := filepath.Join(root, test.want); err != nil || got != want {
				t.Fatalf("found %q, %v; want %q", got, err, want)
			}
			if absent := missing(got, controlPlanePrograms); absent != nil {
				t.Errorf("%s lacks %v", got, absent)
			}
		})
	}
}

func TestFixedFolderMustBeComplete(t *testing.T) {
	for name, test := range map[string]struct {
		holds []string
		want  string
	}{
		"nothing in it": {want: "which lacks kube-apiserver and etcd: add that, or unset KUBEBUILDER_ASSETS"},
		"no etcd":       {holds: []string{APIServer}, want: "which lacks etcd: add that, or unset KUBEBUILDER_ASSETS"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writePrograms(t, t.TempDir(), test.holds...)
			t.Setenv(variable, dir)
			_, err := ControlPlane(t.Context(), t.Logf)
			if want := "KUBEBUILDER_ASSETS is " + dir + ", " + test.want; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Fatalf("error %v, want it to begin with %q", err, want)
			}
		})
	}
}

func TestNonExecutableIsMissing(t *testing.T) {
	dir := writePrograms(t, t.TempDir(), APIServer, Etcd)
	noError(t, os.Chmod(filepath.Join(dir, Etcd), 0o644))
	if got := missing(dir, controlPlanePrograms); len(got) != 1 || got[0] != Etcd {
		t.Fatalf("missing %v, want etcd", got)
	}
}

func TestConcurrentCallersBuildOnce(t *testing.T) {
	f := newFinder(t, &logBuffer{})
	build, builds := f.build, 0 // guarded by the lock under test
	f.build = func(ctx context.Context, log Logf, s source, dir string) error {
		builds++
		return build(ctx, log, s, dir)
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			if dir, err := f.find(t.Context()); err != nil || missing(dir, controlPlanePrograms) != nil {
				t.Errorf("found %q, %v", dir, err)
			}
		})
	}
	callers.Wait()
	if builds != 1 {
		t.Fatalf("%d builds, want 1", builds)
	}
}

func TestWaitForLockIsLoggedAndInterruptible(t *testing.T) {
	b := &logBuffer{first: make(chan struct{})}
	f := newFinder(t, b)
	writePrograms(t, f.cache)
	other := flock.New(filepath.Join(f.cache, "key.lock"))
	noError(t, other.Lock())
	defer func() { _ = other.Unlock() }()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := f.find(ctx)
		ended <- err
	}()
	<-b.first
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was canceled", err)
	}
	if want := "waiting for another process that makes kube-apiserver v1.37.2"; !strings.HasPrefix(b.text(), want) {
		t.Errorf("logged %q, want %q", b.text(), want)
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		result error
		want   string
	}{
		"fails":           {result: broken, want: "broken"},
		"lacks a program": {want: "ended without etcd"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFinder(t, &logBuffer{})
			f.build = func(_ context.Context, _ Logf, _ source, dir string) error {
				writePrograms(t, dir, APIServer)
				return test.result
			}
			writePrograms(t, filepath.Join(f.cache, "key.building-old"), APIServer) // of a build that was killed
			if _, err := f.find(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			entries, err := os.ReadDir(f.cache)
			noError(t, err)
			for _, entry := range entries {
				if entry.Name() != "key.lock" {
					t.Errorf("%s is left", entry.Name())
				}
			}
		})
	}
}

func TestIncompleteBuildIsReplaced(t *testing.T) {
	f := newFinder(t, &logBuffer{})
	writePrograms(t, filepath.Join(f.cache, "key"), Etcd, "stale")
	dir, err := f.find(t.Context())
	if err != nil || missing(dir, controlPlanePrograms) != nil {
		t.Fatalf("found %q, %v", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "stale")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old folder's contents are still there: %v", err)
	}
}

// TestNodeProgramsAreBuilt checks that a folder of the control plane's programs does not
// count as one of the node's.
func TestNodeProgramsAreBuilt(t *testing.T) {
	b := &logBuffer{}
	f := newFinder(t, b)
	f.programs = nodePrograms
	f.build = func(_ context.Context, _ Logf, _ source, dir string) error {
		writePrograms(t, dir, nodePrograms...)
		return nil
	}
	writePrograms(t, filepath.Join(f.cache, "key"), controlPlanePrograms...)
	dir, err := f.find(t.Context())
	if err != nil || missing(dir, nodePrograms) != nil {
		t.Fatalf("found %q, %v", dir, err)
	}
	if b.text() != "" {
		t.Errorf("logged %q", b.text())
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
