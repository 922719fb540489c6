// SPDX-License-Identifier: Apache-2.0

package assets

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

// defaultStall is short because there may be no network, and a build is the alternative.
const defaultStall = 15 * time.Second

var errStalled = errors.New("no answer in time")

// download gets releases through setup-envtest's store, which is shared. Without a store it gets nothing.
type download struct {
	store string        // folder; need not exist
	index string        // URL of the list of releases; empty for setup-envtest's own
	stall time.Duration // the longest time without data; 0 for defaultStall
}

// get returns a folder of the store with a release of kubernetes, such as v1.37.2, or the newest patch of its
// minor version. It prefers stored ones to the network. Calls must not overlap.
func (d download) get(ctx context.Context, log Logf, kubernetes string) (string, error) {
	if d.store == "" {
		return "", errors.New("there is no store to keep it in")
	}
	if d.stall == 0 {
		d.stall = defaultStall
	}
	expr, err := versions.FromExpr(kubernetes[1:])
	if err != nil || expr.AsConcrete() == nil {
		return "", fmt.Errorf("%s is not a version of Kubernetes", kubernetes)
	}
	wanted := *expr.AsConcrete()
	ctx = logr.NewContext(ctx, logr.Discard()) // the store requires a logger
	if dir := d.stored(ctx, wanted); dir != "" {
		return dir, nil
	}
	client := &remote.HTTPClient{Log: logr.Discard(), IndexURL: d.index}
	log("looking for a download of %s %s (at most %s)", APIServer, kubernetes, d.stall)
	version, platform, err := d.choose(ctx, client, wanted)
	if err != nil {
		return "", err
	}
	return d.add(ctx, log, client, version, platform)
}

// stored returns the folder of the wanted version, else of the newest patch of its minor version, else "".
func (d download) stored(ctx context.Context, wanted versions.Concrete) string {
	s := store.NewAt(d.store)
	items, err := s.List(ctx, store.Filter{
		Version:  versions.Spec{Selector: anyPatch(wanted)},
		Platform: versions.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH},
	})
	if err != nil { // the store does not exist yet
		return ""
	}
	found := ""
	for _, item := range items { // newest first
		dir, err := s.Path(item)
		if err == nil && len(missing(dir, controlPlanePrograms)) == 0 && (found == "" || item.Version == wanted) {
			found = dir
		}
	}
	return found
}

// choose returns the entry of the wanted version, else of the newest patch of its minor version.
func (d download) choose(ctx context.Context, client remote.Client, wanted versions.Concrete) (
	version versions.Concrete, platform versions.PlatformItem, err error,
) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.stall, errStalled)
	defer cancel()
	sets, err := client.ListVersions(ctx)
	if err != nil {
		return version, platform, causeOr(ctx, err)
	}
	selector := anyPatch(wanted)
	found := false
	for _, set := range sets { // newest first
		if !selector.Matches(set.Version) || found && set.Version != wanted {
			continue
		}
		for _, p := range set.Platforms {
			if p.OS == runtime.GOOS && p.Arch == runtime.GOARCH {
				version, platform, found = set.Version, p, true
			}
		}
	}
	if !found {
		err = fmt.Errorf("no release of %s for %s/%s", selector, runtime.GOOS, runtime.GOARCH)
	}
	return version, platform, err
}

// add downloads and unpacks a release in a folder of its own, and moves it into the store when it is complete.
func (d download) add(
	ctx context.Context, log Logf, client remote.Client, version versions.Concrete, platform versions.PlatformItem,
) (string, error) {
	item := store.Item{Version: version, Platform: platform.Platform}
	final, err := store.NewAt(d.store).Path(item)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return "", fmt.Errorf("create setup-envtest's store: %w", err)
	}
	temp, err := os.MkdirTemp(d.store, "downloading-")
	if err != nil {
		return "", fmt.Errorf("create a folder to download to: %w", err)
	}
	defer func() { _ = removeReadOnly(temp) }()

	archive, err := os.Create(filepath.Join(temp, "archive"))
	if err != nil {
		return "", fmt.Errorf("create a file to download to: %w", err)
	}
	defer archive.Close()
	if err := d.fetch(ctx, log, client, item, platform, archive); err != nil {
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
	if absent := missing(dir, controlPlanePrograms); len(absent) > 0 {
		return "", fmt.Errorf("the release of %s lacks %s", version, absent)
	}
	// The store's folders are read-only, which prevents renaming and removing them.
	err = errors.Join(os.Chmod(dir, 0o755), removeReadOnly(final), os.Rename(dir, final), os.Chmod(final, 0o555))
	if err != nil {
		return "", fmt.Errorf("move the download into setup-envtest's store: %w", err)
	}
	return final, nil
}

// fetch downloads item's archive into w. The client checks it against the index's hash.
func (d download) fetch(
	ctx context.Context, log Logf, client remote.Client, item store.Item, platform versions.PlatformItem, w io.Writer,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(d.stall, func() { cancel(errStalled) })
	defer stalled.Stop()
	received := &counter{w: w, onWrite: func() { stalled.Reset(d.stall) }}
	start := time.Now()
	status := func() string {
		return fmt.Sprintf("downloading %s: %.1f MB, %s", item, float64(received.n.Load())/1e6, gobuild.Since(start))
	}
	log("%s", status())
	defer gobuild.Report(log, status)()
	return causeOr(ctx, client.GetVersion(ctx, item.Version, platform, received))
}

// causeOr returns err, or why ctx ended if it did: err says less then.
func causeOr(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// counter counts the bytes written to w and calls onWrite before each write.
type counter struct {
	w       io.Writer
	onWrite func()
	n       atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.onWrite()
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func anyPatch(v versions.Concrete) versions.PatchSelector {
	return versions.PatchSelector{Major: v.Major, Minor: v.Minor, Patch: versions.AnyPoint}
}

// removeReadOnly removes dir, which may have read-only folders or not exist.
func removeReadOnly(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil
	}) // RemoveAll reports what could not be changed
	return os.RemoveAll(dir)
}
