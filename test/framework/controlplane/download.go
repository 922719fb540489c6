package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/remote"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/store"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/versions"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/gobuild"
)

// silence is how long a download may bring nothing before it is given up: not
// long, as there may be no way to the network, and building is the alternative.
const silence = 15 * time.Second

var errSilence = errors.New("no answer in time")

// download gets released programs by way of setup-envtest's store, which other
// projects on this machine share. The zero value has no store and gets nothing.
type download struct {
	store   string        // folder of setup-envtest's store; need not exist
	index   string        // URL of the list of releases; empty means setup-envtest's own
	silence time.Duration // zero means the constant
}

// get returns a folder of the store with a release of kubernetes, a version such
// as v1.37.2, or of the newest patch of the same minor version: not every patch
// is published. It is for one caller at a time. What is in the store already
// is used without a look at the network.
func (d download) get(ctx context.Context, log func(format string, args ...any), kubernetes string) (string, error) {
	if d.store == "" {
		return "", errors.New("there is no store to keep it in")
	}
	if d.silence == 0 {
		d.silence = silence
	}
	spec, err := versions.FromExpr(kubernetes[1:])
	if err != nil || spec.AsConcrete() == nil {
		return "", fmt.Errorf("%s is no version of Kubernetes", kubernetes)
	}
	wanted := *spec.AsConcrete()
	ctx = logr.NewContext(ctx, logr.Discard()) // the store insists on a logger
	if dir := d.stored(ctx, wanted); dir != "" {
		return dir, nil
	}

	client := &remote.HTTPClient{Log: logr.Discard(), IndexURL: d.index}
	log("looking for a download of %s %s (at most %s)", apiServerName, kubernetes, d.silence)
	version, platform, err := d.choose(ctx, client, wanted)
	if err != nil {
		return "", err
	}
	return d.fetch(ctx, log, client, version, platform)
}

// stored is a folder of the store with the wanted version or a patch of the same
// minor version, or "".
func (d download) stored(ctx context.Context, wanted versions.Concrete) string {
	s := store.NewAt(d.store)
	items, err := s.List(ctx, store.Filter{
		Version:  versions.Spec{Selector: anyPatch(wanted)},
		Platform: versions.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH},
	})
	if err != nil { // it does not exist yet
		return ""
	}
	found := "" // the newest, as they are listed newest first, but the wanted one if it is there
	for _, item := range items {
		dir, err := s.Path(item)
		if err == nil && len(missing(dir, planePrograms)) == 0 && (found == "" || item.Version == wanted) {
			found = dir
		}
	}
	return found
}

// choose asks the index for the wanted version, or the newest patch of its minor version.
func (d download) choose(ctx context.Context, client remote.Client, wanted versions.Concrete) (versions.Concrete, versions.PlatformItem, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.silence, errSilence)
	defer cancel()
	sets, err := client.ListVersions(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return versions.Concrete{}, versions.PlatformItem{}, err
	}
	selector := anyPatch(wanted)
	var version versions.Concrete
	var platform *versions.PlatformItem
	for _, set := range sets { // newest first
		if !selector.Matches(set.Version) || platform != nil && set.Version != wanted {
			continue
		}
		for _, p := range set.Platforms {
			if p.OS == runtime.GOOS && p.Arch == runtime.GOARCH {
				version, platform = set.Version, &p
			}
		}
	}
	if platform == nil {
		return version, versions.PlatformItem{}, fmt.Errorf("no release of %s for %s/%s", selector, runtime.GOOS, runtime.GOARCH)
	}
	return version, *platform, nil
}

// fetch downloads and unpacks beside the store's releases, and moves the result
// among them when it is whole.
func (d download) fetch(ctx context.Context, log func(format string, args ...any), client remote.Client, version versions.Concrete, platform versions.PlatformItem) (string, error) {
	item := store.Item{Version: version, Platform: platform.Platform}
	final, err := store.NewAt(d.store).Path(item)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return "", fmt.Errorf("make setup-envtest's store: %w", err)
	}
	temp, err := os.MkdirTemp(d.store, "downloading-")
	if err != nil {
		return "", fmt.Errorf("make a folder to download to: %w", err)
	}
	defer func() { _ = removeReadOnly(temp) }()

	archive, err := os.Create(filepath.Join(temp, "archive"))
	if err != nil {
		return "", fmt.Errorf("make a file to download to: %w", err)
	}
	defer archive.Close()
	if err := d.receive(ctx, log, client, item, platform, archive); err != nil {
		return "", err
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("read the download: %w", err)
	}
	unpacked := store.NewAt(temp)
	if err := unpacked.Add(ctx, item, archive); err != nil {
		return "", err
	}
	dir, err := unpacked.Path(item)
	if err != nil {
		return "", err
	}
	if lacks := missing(dir, planePrograms); len(lacks) > 0 {
		return "", fmt.Errorf("the release of %s lacks %s", version, lacks)
	}
	// The store makes its folders read-only, and moving or removing one writes to it.
	if err := errors.Join(os.Chmod(dir, 0o755), removeReadOnly(final), os.Rename(dir, final), os.Chmod(final, 0o555)); err != nil {
		return "", fmt.Errorf("move the download to setup-envtest's store: %w", err)
	}
	return final, nil
}

// receive downloads item's archive into w, which it checks against the index's hash.
func (d download) receive(ctx context.Context, log func(format string, args ...any), client remote.Client, item store.Item, platform versions.PlatformItem, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alarm := time.AfterFunc(d.silence, func() { cancel(errSilence) })
	defer alarm.Stop()
	received := &counter{w: w, heard: func() { alarm.Reset(d.silence) }}
	began := time.Now()
	status := func() string {
		return fmt.Sprintf("downloading %s: %.1f MB, %s", item, float64(received.n.Load())/1e6, gobuild.Since(began))
	}
	log("%s", status())
	defer gobuild.Report(log, status)()
	if err := client.GetVersion(ctx, item.Version, platform, received); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return err
	}
	return nil
}

// counter counts what goes through to w and tells that it came.
type counter struct {
	w     io.Writer
	heard func()
	n     atomic.Int64 // bytes
}

func (c *counter) Write(p []byte) (int, error) {
	c.heard()
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func anyPatch(v versions.Concrete) versions.PatchSelector {
	return versions.PatchSelector{Major: v.Major, Minor: v.Minor, Patch: versions.AnyPoint}
}

// removeReadOnly removes dir, whose folders may be read-only, if it exists.
func removeReadOnly(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil
	}) // what could not be changed shows when it cannot be removed
	return os.RemoveAll(dir)
}
