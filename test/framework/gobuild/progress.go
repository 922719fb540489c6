package gobuild

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// reportEvery is how long something may take without a line about it.
const reportEvery = 10 * time.Second

// Report logs status every ten seconds until stop is called, which returns when
// no line follows any more.
func Report(log func(format string, args ...any), status func() string) (stop func()) {
	done := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		ticker := time.NewTicker(reportEvery)
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

// Since is the time from began until now, in whole seconds: "2m10s".
func Since(began time.Time) string { return time.Since(began).Round(time.Second).String() }

// modules follows what the go command says of the modules it downloads.
type modules struct {
	mu    sync.Mutex
	count int
	last  string   // the latest module and its version
	other []string // lines that are not progress: the error, if it failed
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

// packages follows "go build -v", which names each package when its compilation
// starts, and no package that its cache holds already.
type packages struct {
	expected map[string]bool // every package of the build, by import path
	mains    map[string]bool // of these, the programs

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
		p.linking++ // what a main package needs is compiled by now, and itself takes no time
	}
}

// status is such as "412 of at most 2181 packages".
func (p *packages) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := fmt.Sprintf("%d of at most %d packages", p.started, len(p.expected))
	if p.linking == len(p.mains) {
		return s + ", linking"
	}
	return s
}

// firstError puts the line that says what went wrong, among what a go command
// printed besides its progress, before err, its exit. An interruption stays as it is.
func firstError(printed []string, err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		return err
	}
	for _, line := range printed {
		// "# import/path" only heads what follows.
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return err
}
