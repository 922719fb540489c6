// SPDX-License-Identifier: Apache-2.0

package gobuild

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const reportInterval = 10 * time.Second

// Report logs status every ten seconds until stop is called. Nothing is logged after stop returns.
func Report(log func(format string, args ...any), status func() string) (stop func()) {
	done := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		ticker := time.NewTicker(reportInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				log("%s", status())
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		reporting.Wait()
	}
}

// Since returns the time since begin in whole seconds, such as "2m10s".
func Since(begin time.Time) string { return time.Since(begin).Round(time.Second).String() }

// modules counts the modules that the go command downloads.
type modules struct {
	mu    sync.Mutex
	count int
	last  string   // the last module and its version
	other []string // all other lines, such as errors
}

func (m *modules) line(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if module, ok := strings.CutPrefix(line, "go: downloading "); ok {
		m.count++
		m.last = module
		return
	}
	m.other = append(m.other, line)
}

// packages counts the packages that "go build -v" prints: each when its compilation starts,
// none that is cached.
type packages struct {
	expected map[string]bool // all packages of the build
	mains    map[string]bool // those of the programs

	mu      sync.Mutex
	started int
	linking int
	other   []string // lines that are not progress: the error, if it failed
}

func (p *packages) line(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.expected[line] {
		p.other = append(p.other, line)
		return
	}
	p.started++
	if p.mains[line] {
		p.linking++ // its dependencies are compiled by now
	}
}

// status returns a line such as "412 of at most 2181 packages".
func (p *packages) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := fmt.Sprintf("%d of at most %d packages", p.started, len(p.expected))
	if p.linking == len(p.mains) {
		return s + ", linking"
	}
	return s
}

// firstError wraps the exit of a go command with the first line that is not progress, and returns other errors.
func firstError(printed []string, err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		return err
	}
	for _, line := range printed {
		// "# import/path" is the heading of an error.
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return err
}

// Lines is a Writer that calls Take with each complete line, without its newline.
type Lines struct {
	Take func(line string)
	rest []byte
}

func (l *Lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		l.Take(string(bytes.TrimRight(l.rest[:i], "\r")))
		l.rest = l.rest[i+1:]
	}
}
