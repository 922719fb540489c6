// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestTailReason(t *testing.T) {
	for name, test := range map[string]struct{ printed, want string }{
		"klog":    {"I1231 23:59:59.9 1 a.go:1] \"on\"\nE1231 23:59:59.9 1 run.go:72] \"command failed\"\nI1231 23:59:59.9 1 b.go:1] \"off\"\n", "E1231 23:59:59.9 1 run.go:72] \"command failed\""},
		"zap":     {`{"level":"fatal","msg":"discovery failed"}` + "\n" + `{"level":"info"}` + "\n", `{"level":"fatal","msg":"discovery failed"}`},
		"flag":    {"Error: unknown flag: --x\nusage\n", "Error: unknown flag: --x"},
		"neither": {"Enough\n\nlast\n\n", "last"},
		"silent":  {"", ""},
	} {
		var copied strings.Builder
		l := &Tail{Out: &copied}
		fmt.Fprint(l, test.printed)
		if got := l.Reason(); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if copied.String() != test.printed {
			t.Errorf("%s: passed on %q", name, copied.String())
		}
	}
}

func TestExplain(t *testing.T) {
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
		etcd, api := &Tail{Out: io.Discard}, &Tail{Out: &syncWriter{}}
		fmt.Fprint(etcd, test.etcd)
		fmt.Fprint(api, test.api)
		got := explain(failed, etcd, api)
		if got.Error() != test.want || !errors.Is(got, failed) || errors.Is(got, errPortTaken) != test.taken {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
