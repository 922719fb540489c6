// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestPlay checks that failed and skipped steps are in the table, and that independent ones are run.
func TestPlay(t *testing.T) {
	well := func(context.Context) string { return "well" }
	broken := func(context.Context) string {
		framework.Failf("it\nbroke")
		return ""
	}
	tests := map[string]struct {
		steps  []step
		want   string // verdicts
		passed bool
	}{
		"all well":         {[]step{{name: "a", needed: true, run: well}, {name: "b", run: well}}, "ok ok", true},
		"one fails":        {[]step{{name: "a", run: broken}, {name: "b", run: well}}, "NOT OK ok", false},
		"a needed one":     {[]step{{name: "a", needed: true, run: broken}, {name: "b", run: well}}, "NOT OK NOT OK, not run", false},
		"nothing was done": {nil, "", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			kept := filepath.Join(t.TempDir(), "rows.json")
			first, again := &table{path: kept}, &table{}
			(&world{}).play(t.Context(), first, tc.steps)
			if err := again.read(kept); err != nil {
				t.Fatal(err)
			}
			var verdicts []string
			for _, r := range again.Rows {
				verdict := r.verdict()
				if r.NotRun {
					verdict += ", not run"
				}
				verdicts = append(verdicts, verdict)
			}
			if got := strings.Join(verdicts, " "); got != tc.want || again.passed() != tc.passed {
				t.Errorf("%q, passed %v; want %q, %v", got, again.passed(), tc.want, tc.passed)
			}
		})
	}
}

// TestInterrupted: a run that was ended has not passed.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	interrupted := &table{}
	(&world{}).play(ctx, interrupted, []step{{name: "a", run: func(context.Context) string { return "" }}})
	if interrupted.passed() || !interrupted.Rows[0].NotRun {
		t.Errorf("the table is %+v", interrupted.Rows)
	}
}

func TestPrintedTable(t *testing.T) {
	printed := &table{Rows: []row{
		{Step: "the node is up", Seconds: 12.34, Seen: "kubelet v1"},
		{Step: "messages", Seconds: 1, Problem: "one is missing"},
		{Step: "the rest", NotRun: true},
	}}
	var out strings.Builder
	printed.print(&out, 20*time.Second)
	want := `step            result  seconds  seen
the node is up  ok      12.3     kubelet v1
messages        NOT OK  1.0      
the rest        NOT OK  -        not run

messages:
  one is missing

3 steps, 2 not ok, 20 s
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}
