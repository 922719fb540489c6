package controlplane

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

// put makes files that can be run in dir and returns dir.
func put(t *testing.T, dir string, names ...string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// journal is a log for tests to look into.
type journal struct {
	mu    sync.Mutex
	lines []string
	told  chan struct{} // closed at the first line, if not nil
}

func (j *journal) log(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
	if j.told != nil && len(j.lines) == 1 {
		close(j.told)
	}
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

func newFinder(t *testing.T, j *journal) *finder {
	return &finder{
		log:      j.log,
		source:   source{kubernetes: "v1.37.2", key: "key"},
		cache:    filepath.Join(t.TempDir(), "cache"),
		programs: planePrograms,
		build: func(_ context.Context, _ func(string, ...any), _ source, into string) error {
			put(t, into, apiServerName, etcdName)
			return nil
		},
	}
}

func TestFindTakesTheFirstSource(t *testing.T) {
	release := filepath.Join("k8s", platformDir("1.37.2"))
	for name, test := range map[string]struct {
		named, cached, stored bool
		want                  string // folder, below the test's
	}{
		"named before all else":   {named: true, cached: true, stored: true, want: "named"},
		"cached before the store": {cached: true, stored: true, want: "cache/key"},
		"stored before building":  {stored: true, want: filepath.Join("store", release)},
		"built when nothing else": {want: "cache/key"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFinder(t, &journal{})
			root := filepath.Dir(f.cache)
			f.download = download{store: filepath.Join(root, "store"), index: "http://127.0.0.1:0"}
			if test.named {
				f.named = put(t, filepath.Join(root, "named"), apiServerName, etcdName)
			}
			if test.cached {
				put(t, filepath.Join(f.cache, "key"), apiServerName, etcdName)
			}
			if test.stored {
				put(t, filepath.Join(root, "store", release), apiServerName, etcdName)
			}
			got, err := f.find(t.Context())
			if want := filepath.Join(root, test.want); err != nil || got != want {
				t.Fatalf("found %q, %v; want %q", got, err, want)
			}
			if lacks := missing(got, planePrograms); lacks != nil {
				t.Errorf("%s lacks %v", got, lacks)
			}
		})
	}
}

func TestNamedFolderMustBeWhole(t *testing.T) {
	for name, test := range map[string]struct {
		holds []string
		want  string
	}{
		"nothing in it": {want: "which lacks kube-apiserver and etcd: add that, or unset KUBEBUILDER_ASSETS"},
		"no etcd":       {holds: []string{apiServerName}, want: "which lacks etcd: add that, or unset KUBEBUILDER_ASSETS"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := put(t, t.TempDir(), test.holds...)
			t.Setenv(assetsVariable, dir)
			_, err := Assets(t.Context(), Options{Log: t.Logf})
			if want := "KUBEBUILDER_ASSETS is " + dir + ", " + test.want; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Fatalf("error %v, want it to begin with %q", err, want)
			}
		})
	}
}

func TestAFileThatCannotBeRunIsMissing(t *testing.T) {
	dir := put(t, t.TempDir(), apiServerName, etcdName)
	if err := os.Chmod(filepath.Join(dir, etcdName), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := missing(dir, planePrograms); len(got) != 1 || got[0] != etcdName {
		t.Fatalf("missing %v, want etcd", got)
	}
}

func TestConcurrentCallersBuildOnce(t *testing.T) {
	f := newFinder(t, &journal{})
	build, builds := f.build, 0 // guarded by the lock that is tested
	f.build = func(ctx context.Context, log func(string, ...any), s source, into string) error {
		builds++
		return build(ctx, log, s, into)
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			if dir, err := f.find(t.Context()); err != nil || missing(dir, planePrograms) != nil {
				t.Errorf("found %q, %v", dir, err)
			}
		})
	}
	callers.Wait()
	if builds != 1 {
		t.Fatalf("%d builds, want 1", builds)
	}
}

func TestWaitingForTheLockSaysSoAndCanBeInterrupted(t *testing.T) {
	j := &journal{told: make(chan struct{})}
	f := newFinder(t, j)
	put(t, f.cache)
	other := flock.New(filepath.Join(f.cache, "key.lock"))
	if err := other.Lock(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Unlock() }()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := f.find(ctx)
		ended <- err
	}()
	<-j.told
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was canceled", err)
	}
	if want := "waiting for another process that makes kube-apiserver v1.37.2"; !strings.HasPrefix(j.text(), want) {
		t.Errorf("said %q, want %q", j.text(), want)
	}
}

func TestAnUnfinishedBuildLeavesNothing(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		result error
		want   string
	}{
		"it fails":             {result: broken, want: "broken"},
		"it lacks one program": {want: "ended without etcd"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFinder(t, &journal{})
			f.build = func(_ context.Context, _ func(string, ...any), _ source, into string) error {
				put(t, into, apiServerName)
				return test.result
			}
			put(t, filepath.Join(f.cache, "key.building-old"), apiServerName) // of a build that was killed
			if _, err := f.find(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			entries, err := os.ReadDir(f.cache)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				if entry.Name() != "key.lock" {
					t.Errorf("%s is left", entry.Name())
				}
			}
		})
	}
}

func TestABuildReplacesOneThatLostAProgram(t *testing.T) {
	f := newFinder(t, &journal{})
	put(t, filepath.Join(f.cache, "key"), etcdName, "stale")
	dir, err := f.find(t.Context())
	if err != nil || missing(dir, planePrograms) != nil {
		t.Fatalf("found %q, %v", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "stale")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old folder's contents are still there: %v", err)
	}
}

// TestNodeProgramsAreOnlyBuilt: nobody publishes them, so nothing is downloaded, and
// what holds the control plane does not stand in for them.
func TestNodeProgramsAreOnlyBuilt(t *testing.T) {
	j := &journal{}
	f := newFinder(t, j)
	f.programs = nodePrograms
	f.build = func(_ context.Context, _ func(string, ...any), _ source, into string) error {
		put(t, into, nodePrograms...)
		return nil
	}
	put(t, filepath.Join(f.cache, "key"), planePrograms...)
	dir, err := f.find(t.Context())
	if err != nil || missing(dir, nodePrograms) != nil {
		t.Fatalf("found %q, %v", dir, err)
	}
	if j.text() != "" {
		t.Errorf("said %q", j.text())
	}
}
