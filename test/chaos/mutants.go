package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
)

// mutantSize is how many messages a scenario is run with for a mutant.
const mutantSize = 60

// mutants are the rules that a test build can switch off, by their names in
// internal/rule, each with the scenario that is about it.
var mutants = []struct{ rule, scenario string }{
	{"drained-mark", "kill-unanswered"},
	{"lease-gate", "leader-paused"},
	{"ask-first", "answers-cut"},
	{"proof-of-absence", "empty-users"},
	{"settle", "executed-late"},
	{"read-back", "false-success"},
	{"in-flight-bound", "group-deadlock"},
	{"route-confirm", "router-cut"},
	{"not-before", "kill-scheduled"},
	{"order-hold", "order-kept"},
	{"key-reused", "key-reused"},
	{"attempts", "recreated-keyed"},
}

// runMutants runs each rule's scenario without the rule, and with it: it must fail
// and pass.
func runMutants(ctx context.Context, s *suite, dir, only string) (bool, error) {
	binary, err := build(ctx, dir, "-tags", "mutant")
	if err != nil {
		return false, err
	}
	type run struct {
		rule          string
		without, with *result
	}
	var runs []*run
	errs := make(chan error, len(mutants))
	turns := make(chan struct{}, alones+1)
	for _, m := range mutants {
		if only != "" && !strings.Contains(","+only+",", ","+m.scenario+",") {
			continue
		}
		r := &run{rule: m.rule}
		runs = append(runs, r)
		go func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			errs <- func() (err error) {
				if r.without, err = s.mutant(ctx, binary, m.rule, m.scenario); err != nil {
					return err
				}
				r.with, err = s.mutant(ctx, binary, "", m.scenario)
				return err
			}()
		}()
	}
	for range runs {
		if e := <-errs; e != nil {
			err = e
		}
	}
	if err != nil {
		return false, err
	}
	passed := len(runs) > 0
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "rule off\tscenario\tsent\tfaults\tmissing\tduplicated\tunexpected\tout of order\troutes missing\tcaught\twith the rule")
	for _, r := range runs {
		caught, with := "yes", "passed"
		if !r.without.caught() {
			caught, passed = "NO", false
		}
		if !r.with.passed() {
			with, passed = "FAILED", false
		}
		o := r.without
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n",
			r.rule, o.name, o.sent, o.faults, o.missing, o.duplicated, o.unexpected, o.misordered, o.routesMissing, caught, with)
	}
	return passed, t.Flush()
}

// caught: the count itself has shown what is wrong, or db_proxy hangs.
func (r *result) caught() bool {
	return r.missing+r.duplicated+r.unexpected+r.misordered+r.routesMissing > 0 || errors.Is(r.err, errDeadlock)
}

// mutant runs one scenario in a Kubernetes of its own.
func (s *suite) mutant(ctx context.Context, binary, rule, name string) (*result, error) {
	chosen, err := choose(name, false)
	if err != nil {
		return nil, err
	}
	m := &suite{size: mutantSize, alones: 1, binary: binary, log: func(format string, args ...any) {
		s.log("["+cmp.Or(rule, "no rule")+" off] "+format, args...)
	}}
	m.env = []string{"TEAMTALK_MUTANT=" + rule}
	results, err := m.run(ctx, chosen)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}
