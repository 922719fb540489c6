// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/chaos/mutants"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// mutantSize is the number of messages that a scenario sends for a mutant.
const mutantSize = 60

// mutantRun is the scenario of one mutant. It runs with the mutant and with the unchanged operator.
type mutantRun struct {
	mutants.Mutant
	mutated, intact *result
}

// runMutants runs the scenario or test of each mutant twice. It must fail with the mutant, and pass without. only
// limits the mutants.
func runMutants(ctx context.Context, s *suite, dir, only string) (passed bool, err error) {
	var runs []*mutantRun
	err = framework.Try(func() {
		intact := framework.MustGet(framework.Build(ctx, "teamtalk-operator", dir))
		for _, m := range framework.MustGet(mutants.All()) {
			if only == "" || slices.Contains(strings.Split(only, ","), cmp.Or(m.Scenario, m.Test)) {
				runs = append(runs, &mutantRun{Mutant: m})
			}
		}
		if len(runs) == 0 {
			framework.Failf("--scenario %s: no mutant names it", only)
		}
		framework.Must(framework.Parallel(ctx, maxClusters, len(runs), func(ctx context.Context, i int) {
			s.runMutant(ctx, runs[i], intact, filepath.Join(dir, runs[i].Name))
		}))
	})
	if err != nil {
		return false, err
	}
	return printMutants(runs)
}

func (s *suite) runMutant(ctx context.Context, r *mutantRun, intact, dir string) {
	framework.Must(os.Mkdir(dir, 0o700))
	overlay := framework.MustGet(r.Overlay(framework.MustGet(framework.Root()), dir))
	if r.Test != "" {
		r.mutated, r.intact = s.runTest(ctx, "mutant "+r.Name, r.Mutant, "-overlay", overlay),
			s.runTest(ctx, "no mutant", r.Mutant)
		return
	}
	mutated, err := framework.Build(ctx, "teamtalk-operator", dir, "-overlay", overlay)
	framework.Mustf(err, "mutant %s", r.Name)
	r.mutated = s.runAlone(ctx, mutated, "mutant "+r.Name, r.Scenario)
	r.intact = s.runAlone(ctx, intact, "no mutant", r.Scenario)
}

// runTest runs the test of a mutant. A package that does not compile shows nothing.
func (s *suite) runTest(ctx context.Context, label string, m mutants.Mutant, flags ...string) *result {
	r := &result{scenario: scenario{name: m.Test}, faults: 1}
	began := time.Now()
	args := append([]string{"test", "-count=1", "-v", "-run", "^" + m.Test + "$"}, append(flags, m.Package)...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = framework.MustGet(framework.Root())
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil && bytes.Contains(out, []byte("--- FAIL: "+m.Test+" ")):
		r.problem("the test fails")
	case err != nil:
		r.err = fmt.Errorf("run %s of %s: %w: %s", m.Test, m.Package, err, out)
	case !bytes.Contains(out, []byte("--- PASS: "+m.Test+" ")):
		r.err = fmt.Errorf("%s has no test %s", m.Package, m.Test)
	}
	r.took = time.Since(began)
	s.log("[%s] %s", label, r.line())
	return r
}

func (s *suite) runAlone(ctx context.Context, binary, label, name string) *result {
	alone := &suite{size: mutantSize, clusters: 1, binary: binary, log: func(format string, args ...any) {
		s.log("["+label+"] "+format, args...)
	}}
	return framework.MustGet(alone.run(ctx, framework.MustGet(choose(name, false))))[0]
}

func printMutants(runs []*mutantRun) (passed bool, err error) {
	passed = true
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "mutant\tscenario or test\tsent\tfaults\tmissing\tduplicated\tunexpected\tout of order\tunknown\t"+
		"routes missing\tcaught\twithout it")
	for _, r := range runs {
		caught, intact := "yes", "passed"
		if !r.mutated.caught() {
			caught, passed = "NO", false
		}
		if !r.intact.passed() {
			intact, passed = "FAILED", false
		}
		o := r.mutated
		fmt.Fprintf(t, "%s\t%s\t%d\t%d%s\t%s\t%s\n", r.Name, o.name, o.sent, o.faults, o.cells(6), caught, intact)
	}
	return passed, t.Flush()
}

// caught reports whether the mutant was detected. The count shows its error, a complete scenario shows another error,
// or db_proxy hangs.
func (r *result) caught() bool {
	return r.Sum()+r.misordered+r.unknown > 0 || r.err == nil && len(r.problems) > 0 || errors.Is(r.err, errDeadlock)
}
