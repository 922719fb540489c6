package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"sigs.k8s.io/controller-runtime/tools/setup-envtest/store"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/gobuild"
)

const (
	apiServerName = "kube-apiserver"
	etcdName      = "etcd"
	// assetsVariable is where envtest and its tools look, so people have it set already.
	assetsVariable = "KUBEBUILDER_ASSETS"
)

// planePrograms are what Assets is about.
var planePrograms = []string{apiServerName, etcdName}

// Assets returns a folder that holds kube-apiserver and etcd. In this order, it is
//
//   - KUBEBUILDER_ASSETS, if that is set: an error if a program is missing there;
//   - an earlier build, in the user's cache folder;
//   - a release of the same Kubernetes minor version in setup-envtest's store,
//     downloaded into it where that can be had;
//   - built from hack/controlplane with the go command: once, in minutes.
//
// Processes that call it at once wait for one another, saying so, and share the
// result. What is interrupted leaves nothing that looks finished. It uses only
// o.Log. Mind that "go test" with a list of packages shows a test's output when
// it is over, and stops it after ten minutes: have the assets made beforehand.
func Assets(ctx context.Context, o Options) (dir string, err error) {
	f := finder{log: o.log(), named: os.Getenv(assetsVariable), programs: planePrograms}
	if f.named == "" {
		if f.source, f.cache, err = places(); err != nil {
			return "", err
		}
		if f.download.store, err = store.DefaultStoreDir(); err != nil {
			f.log("setup-envtest's store is not used: %v", err)
		}
		f.build = build
	}
	return f.find(ctx)
}

// places returns what programs are built from, and the folder that keeps builds.
func places() (source, string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return source{}, "", fmt.Errorf("find the working directory: %w", err)
	}
	s, err := findSource(wd)
	if err != nil {
		return source{}, "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return source{}, "", fmt.Errorf("find a place for what is built: %w; set HOME, or %s to a folder with %s and %s", err, assetsVariable, apiServerName, etcdName)
	}
	return s, filepath.Join(cache, "teamtalk-operator", "controlplane"), nil
}

// finder is Assets with its surroundings made explicit.
type finder struct {
	log      func(format string, args ...any)
	named    string // KUBEBUILDER_ASSETS
	source   source
	cache    string // absolute; need not exist
	programs []string
	download download // of no use without a store
	// build fills the empty folder into with programs named as this package names them.
	build func(ctx context.Context, log func(format string, args ...any), s source, into string) error
}

func (f *finder) find(ctx context.Context) (string, error) {
	if f.named != "" {
		if lacks := missing(f.named, f.programs); len(lacks) > 0 {
			return "", fmt.Errorf("%s is %s, which lacks %s: add that, or unset %s to have it found or built",
				assetsVariable, f.named, strings.Join(lacks, " and "), assetsVariable)
		}
		return f.named, nil
	}
	built := filepath.Join(f.cache, f.source.key)
	if len(missing(built, f.programs)) == 0 {
		return built, nil
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if len(missing(built, f.programs)) == 0 { // by whoever held the lock
		return built, nil
	}
	if f.download.store != "" {
		dir, err := f.download.get(ctx, f.log, f.source.kubernetes)
		if err == nil {
			return dir, nil
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("download %s: %w", apiServerName, context.Cause(ctx))
		}
		f.log("%s %s could not be downloaded, so it is built from source instead: %v", apiServerName, f.source.kubernetes, err)
	}
	return built, f.buildInto(ctx, built)
}

// lock waits for the only right to make assets of this key, and returns what gives it back.
func (f *finder) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(f.cache, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache folder: %w", err)
	}
	l := flock.New(filepath.Join(f.cache, f.source.key+".lock"))
	locked, err := l.TryLock()
	if err == nil && !locked {
		began := time.Now()
		waiting := func() string {
			return fmt.Sprintf("waiting for another process that makes %s %s: %s", f.programs[0], f.source.kubernetes, gobuild.Since(began))
		}
		f.log("%s", waiting())
		stop := gobuild.Report(f.log, waiting)
		_, err = l.TryLockContext(ctx, 100*time.Millisecond)
		stop()
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", l.Path(), err)
	}
	return func() { _ = l.Unlock() }, nil
}

// buildInto builds beside dir and moves the result there when it is whole.
// It is for the lock's holder.
func (f *finder) buildInto(ctx context.Context, dir string) (err error) {
	prefix := dir + ".building-"
	leftovers, err := filepath.Glob(prefix + "*") // of builds that were killed
	if err != nil {
		return fmt.Errorf("look for unfinished builds: %w", err)
	}
	for _, old := range append(leftovers, dir) { // dir exists if a program was deleted from it
		if err := os.RemoveAll(old); err != nil {
			return fmt.Errorf("remove an unfinished build: %w", err)
		}
	}
	temp, err := os.MkdirTemp(f.cache, filepath.Base(prefix))
	if err != nil {
		return fmt.Errorf("make a folder to build in: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	if err := f.build(ctx, f.log, f.source, temp); err != nil {
		return err
	}
	if lacks := missing(temp, f.programs); len(lacks) > 0 {
		return fmt.Errorf("the build of %s ended without %s", f.source.dir, strings.Join(lacks, " and "))
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return fmt.Errorf("open the build to other users: %w", err)
	}
	if err := os.Rename(temp, dir); err != nil {
		return fmt.Errorf("move the finished build to its place: %w", err)
	}
	return nil
}

// missing names the programs that dir does not hold as files that can be run.
func missing(dir string, programs []string) []string {
	var lacks []string
	for _, name := range programs {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.Mode().IsRegular() || info.Mode()&fs.FileMode(0o111) == 0 {
			lacks = append(lacks, name)
		}
	}
	return lacks
}
