// SPDX-License-Identifier: Apache-2.0

package gobuild

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReportEveryTenSecondsUntilStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, begin := &logBuffer{}, time.Now()
		stop := Report(b.log, func() string { return Since(begin) })
		elapse(35 * time.Second) // of the bubble's clock
		stop()
		elapse(time.Minute)
		if want := "10s\n20s\n30s"; b.text() != want {
			t.Errorf("reported %q, want %q", b.text(), want)
		}
	})
}

func TestModulesAreCounted(t *testing.T) {
	var m modules
	fmt.Fprint(&Lines{Take: m.line}, "go: downloading k8s.io/api v0.37.2\ngo: downloading k8s.io/kms v0.37.2\ngo: it broke\n")
	if m.count != 2 || m.last != "k8s.io/kms v0.37.2" || !slices.Equal(m.other, []string{"go: it broke"}) {
		t.Errorf("%d modules, last %q, other lines %q", m.count, m.last, m.other)
	}
}

func TestPackagesAreCounted(t *testing.T) {
	p := packages{
		expected: map[string]bool{"fmt": true, "k8s.io/api/core/v1": true, "m/etcd": true, "m/api": true},
		mains:    map[string]bool{"m/etcd": true, "m/api": true},
	}
	w := &Lines{Take: p.line}
	for _, step := range []struct{ printed, want string }{
		{"", "0 of at most 4 packages"},
		{"fmt\nk8s.io/a", "1 of at most 4 packages"},
		{"pi/core/v1\n# m/x\nx.go:1:1: undefined: y\n", "2 of at most 4 packages"},
		{"m/etcd\n", "3 of at most 4 packages"},
		{"m/api\n", "4 of at most 4 packages, linking"},
	} {
		fmt.Fprint(w, step.printed)
		if got := p.status(); got != step.want {
			t.Errorf("after %q: %q, want %q", step.printed, got, step.want)
		}
	}
	if want := []string{"# m/x", "x.go:1:1: undefined: y"}; !slices.Equal(p.other, want) {
		t.Errorf("other lines %q, want %q", p.other, want)
	}
}

func TestFirstError(t *testing.T) {
	exit := error(&exec.ExitError{})
	for name, test := range map[string]struct {
		printed []string
		err     error
		want    string // of the message
	}{
		"a compiler's error": {[]string{"# m/x", "x.go:1:1: undefined: y", "more"}, exit, "x.go:1:1: undefined: y: <nil>"},
		"no output":          {nil, exit, "<nil>"},
		"an interruption":    {[]string{"signal: interrupt"}, context.Canceled, "context canceled"},
		"no go command":      {nil, exec.ErrNotFound, exec.ErrNotFound.Error()},
		"headings alone":     {[]string{"# m/x"}, exit, "<nil>"},
	} {
		got := firstError(test.printed, test.err)
		if got.Error() != test.want || !errors.Is(got, test.err) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

type logBuffer struct{ lines []string }

func (b *logBuffer) log(format string, args ...any) {
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}
func (b *logBuffer) text() string { return strings.Join(b.lines, "\n") }

// elapse advances the bubble's clock.
func elapse(d time.Duration) { <-time.After(d) }
