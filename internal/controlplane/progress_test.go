package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReportEveryTenSecondsUntilStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, began := &journal{}, time.Now()
		stop := report(j.log, func() string { return since(began) })
		time.Sleep(35 * time.Second) // of the bubble's clock
		stop()
		time.Sleep(time.Minute)
		if want := "10s\n20s\n30s"; j.text() != want {
			t.Errorf("reported %q, want %q", j.text(), want)
		}
	})
}

func TestModulesAreCounted(t *testing.T) {
	var m modules
	fmt.Fprint(&lines{take: m.line}, "go: downloading k8s.io/api v0.37.2\ngo: downloading k8s.io/kms v0.37.2\ngo: it broke\n")
	if m.count != 2 || m.last != "k8s.io/kms v0.37.2" || !slices.Equal(m.other, []string{"go: it broke"}) {
		t.Errorf("%d modules, last %q, other lines %q", m.count, m.last, m.other)
	}
}

func TestPackagesAreCounted(t *testing.T) {
	p := packages{
		expected: map[string]bool{"fmt": true, "k8s.io/api/core/v1": true, "m/etcd": true, "m/api": true},
		mains:    map[string]bool{"m/etcd": true, "m/api": true},
	}
	w := &lines{take: p.line}
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
		"what the compiler said":      {[]string{"# m/x", "x.go:1:1: undefined: y", "more"}, exit, "x.go:1:1: undefined: y: <nil>"},
		"nothing said":                {nil, exit, "<nil>"},
		"why it was interrupted":      {[]string{"signal: interrupt"}, context.Canceled, "context canceled"},
		"the program is not there":    {nil, exec.ErrNotFound, exec.ErrNotFound.Error()},
		"only headings, no more said": {[]string{"# m/x"}, exit, "<nil>"},
	} {
		got := firstError(test.printed, test.err)
		if got.Error() != test.want || !errors.Is(got, test.err) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestReasonIsTheLastErrorOrTheLastLine(t *testing.T) {
	for name, test := range map[string]struct{ printed, want string }{
		"klog":    {"I1231 23:59:59.9 1 a.go:1] \"on\"\nE1231 23:59:59.9 1 run.go:72] \"command failed\"\nI1231 23:59:59.9 1 b.go:1] \"off\"\n", "E1231 23:59:59.9 1 run.go:72] \"command failed\""},
		"zap":     {`{"level":"fatal","msg":"discovery failed"}` + "\n" + `{"level":"info"}` + "\n", `{"level":"fatal","msg":"discovery failed"}`},
		"flag":    {"Error: unknown flag: --x\nusage\n", "Error: unknown flag: --x"},
		"neither": {"Enough\n\nlast\n\n", "last"},
		"silent":  {"", ""},
	} {
		var copied strings.Builder
		l := &tail{out: &copied}
		fmt.Fprint(l, test.printed)
		if got := l.reason(); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if copied.String() != test.printed {
			t.Errorf("%s: passed on %q", name, copied.String())
		}
	}
}

func TestExplainedFailure(t *testing.T) {
	failed := errors.New("failed")
	for name, test := range map[string]struct {
		etcd, api string
		want      string
		taken     bool
	}{
		"nothing said":   {want: "failed"},
		"by etcd alone":  {etcd: "Error: no\n", want: "failed: etcd said: Error: no"},
		"by both":        {etcd: "Error: no\n", api: "Error: yes\n", want: "failed: kube-apiserver said: Error: yes"},
		"a port is used": {api: "Error: bind: address already in use\n", want: "a port was taken meanwhile: failed: kube-apiserver said: Error: bind: address already in use", taken: true},
	} {
		etcd, api := &tail{out: io.Discard}, &tail{out: &shared{}}
		fmt.Fprint(etcd, test.etcd)
		fmt.Fprint(api, test.api)
		got := explain(failed, etcd, api)
		if got.Error() != test.want || !errors.Is(got, failed) || errors.Is(got, errPortTaken) != test.taken {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
