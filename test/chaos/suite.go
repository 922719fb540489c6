// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// These are how many scenarios share an operator at a time, and how many clusters there are for the others. The
// others mostly wait for a Lease to expire. With larger numbers, all would wait for the processor.
const (
	sharing       = 6
	maxClusters   = 3
	shortClusters = 2
)

// settleDown bounds the counting and the cleanup after a scenario.
const settleDown = time.Minute

type suite struct {
	// size is the smallest number of messages of a scenario. clusters is the number of clusters for scenarios that
	// are alone.
	size, clusters int
	// own is the user's own TeamTalk. If it is nil, each scenario has a teamtalk-dev.
	own    *target
	binary string
	log    func(format string, args ...any)
}

type result struct {
	scenario
	namespace    string
	turn         int // its place among all scenarios
	sent, faults int
	tally
	err error
	// skipped is the reason why the scenario was not run, or empty.
	skipped string
	took    time.Duration
}

func (r *result) passed() bool {
	return r.err == nil && r.skipped == "" && r.faults > 0 && r.clean()
}

func (s *suite) run(ctx context.Context, all []scenario) ([]*result, error) {
	results := make([]*result, len(all))
	shared, alone := make(chan *result, len(all)), make(chan *result, len(all))
	for i, sc := range all {
		results[i] = &result{scenario: sc, namespace: fmt.Sprintf("chaos-%d", i), turn: i}
		switch {
		case s.own != nil && sc.needsDev:
			results[i].skipped = "needs teamtalk-dev"
		case sc.alone:
			alone <- results[i]
		default:
			shared <- results[i]
		}
	}
	close(shared)
	close(alone)
	width, clusters := min(sharing, len(shared)), min(s.clusters, len(alone))
	var g errgroup.Group
	if s.own != nil {
		// They run one at a time, because each operator limits only its own load on the user's TeamTalk.
		width, clusters = min(1, width), min(1, clusters)
		g.SetLimit(1)
	}
	if width > 0 {
		g.Go(func() error { return s.runQueue(ctx, shared, width, true) })
	}
	for range clusters {
		g.Go(func() error { return s.runQueue(ctx, alone, 1, false) })
	}
	err := g.Wait()
	return results, errors.Join(ctx.Err(), err)
}

// runQueue runs scenarios in a cluster, width at a time. They share one operator, or each starts its own.
func (s *suite) runQueue(ctx context.Context, queue <-chan *result, width int, share bool) error {
	return framework.Try(func() {
		c := newCluster(ctx, s.binary, s.log)
		defer c.Stop()
		var op *operator
		if share {
			op = c.startOperator()
			defer func() { framework.Must(op.end()) }()
		}
		var wg sync.WaitGroup
		for range width {
			wg.Go(func() {
				for r := range queue {
					if ctx.Err() == nil {
						s.runOne(ctx, c, op, r)
					}
				}
			})
		}
		wg.Wait()
	})
}

func (s *suite) runOne(ctx context.Context, c *cluster, op *operator, r *result) {
	began := time.Now()
	defer func() {
		r.took = time.Since(began)
		s.log("%s", r.line())
	}()
	id := fmt.Sprintf("%x", began.UnixNano())
	w := &world{scenario: r.scenario, id: id, size: s.size, cluster: c, namespace: r.namespace}
	overall, cancelOverall := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelOverall()
	bounded, cancel := context.WithTimeoutCause(ctx, r.bound, fmt.Errorf("the scenario's bound of %s has passed", r.bound))
	defer cancel()
	r.err = framework.Try(func() {
		if w.target = s.target(overall); s.own != nil {
			w.ownTurn(bounded, r.turn)
		}
		w.play(bounded, op)
	})
	// The outcome is counted in any case, with a separate timeout.
	counting, cancelCounting := context.WithTimeout(overall, settleDown)
	defer cancelCounting()
	if w.peer != nil {
		r.err = errors.Join(r.err, framework.Try(func() { r.tally = *w.count(counting) }))
	}
	r.sent, r.faults = w.sent(), w.faults()
	if r.err != nil {
		w.dump()
		r.err = errors.Join(r.err, w.ends())
	}
	r.err = errors.Join(r.err, w.teardown(counting))
}

// play prepares and runs the scenario, and waits until the messages are finished.
func (w *world) play(ctx context.Context, op *operator) {
	framework.Mustf(framework.Try(func() { w.setup(ctx, op) }), "set up")
	w.run(ctx, w)
	w.finished(ctx)
	w.settled = true
}

func (s *suite) target(ctx context.Context) *target {
	if s.own == nil {
		return devTarget(ctx)
	}
	own := *s.own
	return &own
}

// dump writes the operators' logs of an incomplete scenario to the folder CHAOS_LOGS, if it is set.
func (w *world) dump() {
	dir := os.Getenv("CHAOS_LOGS")
	if dir == "" {
		return
	}
	all := w.operators
	if len(all) == 0 && w.leader != nil {
		all = []*operator{w.leader}
	}
	for n, o := range all {
		_ = os.WriteFile(fmt.Sprintf("%s/%s-%d.log", dir, w.name, n), []byte(o.log.String()), 0o600) // best effort
	}
}

// ends lists which operators have ended, killed or not, and their last log lines. An operator that lost its Lease
// ends, and then nothing continues.
func (w *world) ends() error {
	var errs []error
	for n, o := range w.operators {
		select {
		case <-o.Ended():
			log := strings.TrimSpace(o.log.String())
			last := log[strings.LastIndexByte(log, '\n')+1:]
			how := "with code 0"
			if err := o.Err(); err != nil {
				how = err.Error()
			}
			errs = append(errs, fmt.Errorf("operator %d has ended (%s), its log with %.300s", n, how, last))
		default:
		}
	}
	return errors.Join(errs...)
}

const maxProblems = 5

func (r *result) line() string {
	if r.skipped != "" {
		return fmt.Sprintf("%s: not run: %s", r.name, r.skipped)
	}
	if r.passed() {
		return fmt.Sprintf("%s: passed, %d sent, %d faults, %.0f s", r.name, r.sent, r.faults, r.took.Seconds())
	}
	return fmt.Sprintf("%s: FAILED after %.0f s: %s", r.name, r.took.Seconds(), strings.Join(r.complaints(), "; "))
}

func (r *result) complaints() []string {
	var all []string
	if r.err != nil {
		all = append(all, strings.ReplaceAll(r.err.Error(), "\n", "; "))
	}
	if r.skipped == "" && r.faults == 0 {
		all = append(all, "no fault has happened")
	}
	words := []string{"missing", "duplicated", "unexpected", "out of order", "in doubt or unknown",
		"not announced", "announced too often"}
	for i, n := range r.counts() {
		if n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, words[i]))
		}
	}
	shown := r.problems[:min(maxProblems, len(r.problems))]
	all = append(all, shown...)
	if more := len(r.problems) - len(shown); more > 0 {
		all = append(all, fmt.Sprintf("and %d more like these", more))
	}
	return all
}

// printTable writes the table, and reports whether all scenarios that were run have passed.
func printTable(out io.Writer, results []*result) (passed bool) {
	passed = true
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\tsent\tfaults\tmissing\tduplicated\tunexpected\tout of order\tunknown\troutes missing\t"+
		"routes repeated\tseconds\tresult")
	for _, r := range results {
		verdict := "ok"
		switch {
		case r.skipped != "":
			fmt.Fprintf(t, "%s%s%s\n", r.name, strings.Repeat("\t-", 10)+"\t", r.skipped)
			continue
		case !r.passed():
			verdict, passed = "FAILED", false
		}
		fmt.Fprintf(t, "%s\t%d\t%d%s\t%.0f\t%s\n", r.name, r.sent, r.faults, r.cells(7), r.took.Seconds(), verdict)
	}
	_ = t.Flush() // standard output that is gone has no reader
	for _, r := range results {
		for _, note := range r.notes {
			fmt.Fprintf(out, "\n%s: %s\n", r.name, note)
		}
		if r.skipped == "" && !r.passed() {
			fmt.Fprintf(out, "\n%s (%s):\n", r.name, r.clause)
			for _, c := range r.complaints() {
				fmt.Fprintf(out, "  %s\n", c)
			}
		}
	}
	return passed
}

// cells returns the first n counts as columns, each after a tab.
func (t *tally) cells(n int) string {
	var b strings.Builder
	for _, count := range t.counts()[:n] {
		fmt.Fprintf(&b, "\t%d", count)
	}
	return b.String()
}
