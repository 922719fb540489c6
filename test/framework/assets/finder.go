// SPDX-License-Identifier: Apache-2.0

package assets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/gobuild"
)

// finder finds or makes a folder that holds programs.
type finder struct {
	log      Logf
	fixed    string // the folder that the user set; nothing else is used if not empty
	source   source
	cache    string // absolute; need not exist
	programs []string
	download download // does nothing without a store
	// build puts the programs into the empty folder dir.
	build func(ctx context.Context, log Logf, s source, dir string) error
}

func (f *finder) find(ctx context.Context) (string, error) {
	if f.fixed != "" {
		if absent := missing(f.fixed, f.programs); len(absent) > 0 {
			return "", fmt.Errorf("%s is %s, which lacks %s: add that, or unset %s to have it found or built",
				variable, f.fixed, strings.Join(absent, " and "), variable)
		}
		return f.fixed, nil
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
	if len(missing(built, f.programs)) == 0 { // the lock's previous holder built it
		return built, nil
	}
	if f.download.store != "" {
		dir, err := f.download.get(ctx, f.log, f.source.kubernetes)
		if err == nil {
			return dir, nil
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("download %s: %w", APIServer, context.Cause(ctx))
		}
		f.log("%s %s could not be downloaded, so it is built from source instead: %v", APIServer, f.source.kubernetes, err)
	}
	return built, f.buildInto(ctx, built)
}

// lock acquires the lock of the source's key, across processes.
func (f *finder) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(f.cache, 0o755); err != nil {
		return nil, fmt.Errorf("create the cache folder: %w", err)
	}
	l := flock.New(filepath.Join(f.cache, f.source.key+".lock"))
	locked, err := l.TryLock()
	if err == nil && !locked {
		start := time.Now()
		status := func() string {
			return fmt.Sprintf("waiting for another process that makes %s %s: %s",
				f.programs[0], f.source.kubernetes, gobuild.Since(start))
		}
		f.log("%s", status())
		stop := gobuild.Report(f.log, status)
		_, err = l.TryLockContext(ctx, 100*time.Millisecond)
		stop()
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", l.Path(), err)
	}
	return func() { _ = l.Unlock() }, nil
}

// buildInto builds in a folder beside dir and renames it to dir when it is complete. The caller holds the lock.
func (f *finder) buildInto(ctx context.Context, dir string) (err error) {
	prefix := dir + ".building-"
	stale, err := filepath.Glob(prefix + "*") // of killed builds
	if err != nil {
		return fmt.Errorf("find unfinished builds: %w", err)
	}
	for _, old := range append(stale, dir) { // dir exists if a program was deleted from it
		if err := os.RemoveAll(old); err != nil {
			return fmt.Errorf("remove an unfinished build: %w", err)
		}
	}
	temp, err := os.MkdirTemp(f.cache, filepath.Base(prefix))
	if err != nil {
		return fmt.Errorf("create a folder to build in: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	if err := f.build(ctx, f.log, f.source, temp); err != nil {
		return err
	}
	if absent := missing(temp, f.programs); len(absent) > 0 {
		return fmt.Errorf("the build of %s ended without %s", f.source.dir, strings.Join(absent, " and "))
	}
	// MkdirTemp's mode keeps other users out.
	if err := errors.Join(os.Chmod(temp, 0o755), os.Rename(temp, dir)); err != nil {
		return fmt.Errorf("rename the finished build: %w", err)
	}
	return nil
}

// missing returns those of programs that are no executable files in dir.
func missing(dir string, programs []string) []string {
	var absent []string
	for _, name := range programs {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			absent = append(absent, name)
		}
	}
	return absent
}
