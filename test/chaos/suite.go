// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// Widths of the suite: how many scenarios share one operator at a time, and how
// many Kubernetes there are for those that share it with nobody. More of them wait
// for the processor, not for each other.
const (
	sharing     = 6
	alones      = 2
	shortAlones = 1
)

// settleDown bounds the counting and the clearing away after a scenario.
const settleDown = time.Minute

// suite runs scenarios.
type suite struct {
	// size is the number of messages of each scenario, at least; alones how many
	// Kubernetes there are for those that share it with nobody.
	size, alones int
	// own is the user's own TeamTalk; nil: a teamtalk-dev for each scenario.
	own *target
	// binary is the operator's.
	binary string
	log    func(format string, args ...any)
}

// result is what a scenario came to.
type result struct {
	scenario
	sent, faults int
	tally
	// err is why it did not come to its end.
	err error
	// skipped says why it was not run at all.
	skipped string
	took    time.Duration
}

func (r *result) passed() bool {
	return r.err == nil && r.skipped == "" && r.faults > 0 && r.clean()
}

// build builds the operator.
func build(ctx context.Context, dir string, flags ...string) (string, error) {
	return framework.Build(ctx, "teamtalk-operator", dir, flags...)
}

// run runs the scenarios, and returns their results in order.
func (s *suite) run(ctx context.Context, all []scenario) ([]*result, error) {
	results := make([]*result, len(all))
	shared, alone := make(chan int, len(all)), make(chan int, len(all))
	for i, sc := range all {
		results[i] = &result{scenario: sc}
		switch {
		case s.own != nil && sc.needsDev:
			results[i].skipped = "needs teamtalk-dev"
		case sc.alone:
			alone <- i
		default:
			shared <- i
		}
	}
	close(shared)
	close(alone)
	width := min(sharing, len(shared))
	lanes := min(s.alones, len(alone))
	if s.own != nil {
		// A TeamTalk of the user's own must not be pressed by several at once: each
		// operator keeps the bounds by itself.
		width = min(1, width)
		lanes = min(1, lanes)
	}
	var wg sync.WaitGroup
	errs := make(chan error, lanes+1)
	one := func(l *lane, op *operator, i int) { s.one(ctx, l, op, results[i], i) }
	runShared := func() error { return s.shared(ctx, width, shared, one) }
	runAlone := func() error { return s.alone(ctx, alone, one) }
	if s.own != nil && width > 0 && lanes > 0 {
		return results, errors.Join(runShared(), runAlone())
	}
	if width > 0 {
		wg.Go(func() { errs <- runShared() })
	}
	for range lanes {
		wg.Go(func() { errs <- runAlone() })
	}
	wg.Wait()
	close(errs)
	joined := ctx.Err()
	for err := range errs {
		joined = errors.Join(joined, err)
	}
	return results, joined
}

// shared runs scenarios side by side under one operator.
func (s *suite) shared(ctx context.Context, width int, queue <-chan int, one func(*lane, *operator, int)) (err error) {
	l, err := newLane(ctx, s.binary, s.log)
	if err != nil {
		return err
	}
	defer l.stop()
	op, err := l.startOperator(ctx)
	if err != nil {
		return err
	}
	defer func() {
		op.Kill()
		op.api.Stop()
		err = errors.Join(err, op.sound())
	}()
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() {
			for i := range queue {
				if ctx.Err() == nil {
					one(l, op, i)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// alone runs scenarios one after the other, each with operators of its own.
func (s *suite) alone(ctx context.Context, queue <-chan int, one func(*lane, *operator, int)) error {
	l, err := newLane(ctx, s.binary, s.log)
	if err != nil {
		return err
	}
	defer l.stop()
	for i := range queue {
		if ctx.Err() == nil {
			one(l, nil, i)
		}
	}
	return nil
}

// one runs one scenario to its count.
func (s *suite) one(ctx context.Context, l *lane, op *operator, r *result, i int) {
	began := time.Now()
	defer func() {
		r.took = time.Since(began)
		s.log("%s", r.line())
	}()
	w := &world{scenario: r.scenario, id: fmt.Sprintf("%x", began.UnixNano()), size: s.size, lane: l,
		namespace: fmt.Sprintf("chaos-%d", i)}
	overall, cancelOverall := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelOverall()
	var err error
	if w.target, err = s.target(overall); err != nil {
		r.err = err
		return
	}
	bounded, cancel := context.WithTimeoutCause(ctx, r.bound, fmt.Errorf("the scenario's bound of %s has passed", r.bound))
	defer cancel()
	r.err = w.play(bounded, op)
	// Whatever became of it is counted, in a time of its own.
	counting, cancelCounting := context.WithTimeout(overall, settleDown)
	defer cancelCounting()
	if w.peer != nil {
		t, err := w.count(counting)
		if err != nil {
			r.err = errors.Join(r.err, fmt.Errorf("count: %w", err))
		} else {
			r.tally = *t
		}
	}
	r.sent, r.faults = w.sent(), w.faults()
	if r.err != nil {
		w.dump()
	}
	if err := w.teardown(counting); err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("clear away: %w", err))
	}
}

// play sets the stage, runs the scenario, and waits for the messages' ends.
func (w *world) play(ctx context.Context, op *operator) error {
	if err := w.setup(ctx, op); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := w.run(ctx, w); err != nil {
		return err
	}
	err := w.finished(ctx)
	w.settled = err == nil
	return err
}

// target is a TeamTalk for one scenario.
func (s *suite) target(ctx context.Context) (*target, error) {
	if s.own == nil {
		return devTarget(ctx)
	}
	own := *s.own
	return &own, nil
}

// dump keeps the operators' logs of a scenario that did not come to its end, where
// CHAOS_LOGS names a folder.
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
