// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"github.com/teamtalk-io/teamtalk-operator/test/chaos/mutants"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// mutantSize is the number of messages that a scenario sends for a mutant.
const mutantSize = 60

// mutantRun is one mutant's scenario, with the mutant and with the operator as it is.
type mutantRun struct {
	mutants.Mutant
	mutated, intact *result
}

// runMutants runs the scenario of each mutant twice: it must fail with the mutant and
// pass without. only limits the scenarios.
func runMutants(ctx context.Context, s *suite, dir, only string) (bool, error) {
	all, err := mutants.All()
	if err != nil {
		return false, err
	}
	intact, err := build(ctx, dir)
	if err != nil {
		return false, err
	}
	var runs []*mutantRun
	var g errgroup.Group
	g.SetLimit(alones + 1)
	for _, m := range all {
		if only != "" && !strings.Contains(","+only+",", ","+m.Scenario+",") {
			continue
		}
		r := &mutantRun{Mutant: m}
		runs = append(runs, r)
		g.Go(func() error { return s.runMutant(ctx, r, intact, filepath.Join(dir, m.Name)) })
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	return printMutants(runs)
}

// runMutant builds the mutant in dir and fills in both results.
func (s *suite) runMutant(ctx context.Context, r *mutantRun, intact, dir string) error {
	root, err := framework.Root()
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	overlay, err := r.Overlay(root, dir)
	if err != nil {
		return err
	}
	mutated, err := build(ctx, dir, "-overlay", overlay)
	if err != nil {
		return fmt.Errorf("mutant %s: %w", r.Name, err)
	}
	if r.mutated, err = s.runAlone(ctx, mutated, "mutant "+r.Name, r.Scenario); err != nil {
		return err
	}
	r.intact, err = s.runAlone(ctx, intact, "no mutant", r.Scenario)
	return err
}

// runAlone runs one scenario in a Kubernetes of its own.
func (s *suite) runAlone(ctx context.Context, binary, label, name string) (*result, error) {
	chosen, err := choose(name, false)
	if err != nil {
		return nil, err
	}
	alone := &suite{size: mutantSize, alones: 1, binary: binary, log: func(format string, args ...any) {
		s.log("["+label+"] "+format, args...)
	}}
	results, err := alone.run(ctx, chosen)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// printMutants prints the table and reports whether every mutant was caught.
func printMutants(runs []*mutantRun) (passed bool, err error) {
	passed = len(runs) > 0
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "mutant\tscenario\tsent\tfaults\tmissing\tduplicated\tunexpected\tout of order\troutes "+
		"missing\tcaught\twithout it")
	for _, r := range runs {
		caught, intact := "yes", "passed"
		if !r.mutated.caught() {
			caught, passed = "NO", false
		}
		if !r.intact.passed() {
			intact, passed = "FAILED", false
		}
		o := r.mutated
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", r.Name, o.name,
			o.sent, o.faults, o.missing, o.duplicated, o.unexpected, o.misordered, o.routesMissing, caught, intact)
	}
	return passed, t.Flush()
}

// caught reports whether the count shows the mutant's error, or db_proxy hangs.
func (r *result) caught() bool {
	return r.missing+r.duplicated+r.unexpected+r.misordered+r.routesMissing > 0 || errors.Is(r.err, errDeadlock)
}
