// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"
)

const (
	// scaleMessages are finished when the operator starts.
	scaleMessages = 100_000
	// scaleWatch is how long the operator is watched, with nothing to do.
	scaleWatch = 30 * time.Second
)

// scale measures what finished messages cost: an operator starts with very many of
// them in the API server, and is watched when it has nothing to do.
func scale(ctx context.Context, w *world, r *report) error {
	// The finished ones look like what the operator writes.
	const pattern = "scale-pattern"
	if err := w.lead(ctx); err != nil {
		return err
	}
	if _, err := w.deliverOne(ctx, pattern); err != nil {
		return err
	}
	if err := w.retire(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := w.multiply(ctx, pattern,
		batch{namespace: namespace, prefix: "finished", n: scaleMessages, users: w.o.users}); err != nil {
		return err
	}
	r.add("fill_s_100k", time.Since(began).Seconds(), 0)

	term, err := w.nextTerm(ctx)
	if err != nil {
		return err
	}
	from, err := w.audit.end()
	if err != nil {
		return err
	}
	if w.operator, err = w.startOperator(); err != nil {
		return err
	}
	if err := w.operator.ready(ctx); err != nil {
		return err
	}
	started := time.Since(w.operator.started)
	busy, err := w.operator.cpu()
	if err != nil {
		return err
	}
	at, err := term(ctx, w.operator)
	if err != nil {
		return err
	}
	r.add("start_s_100k", started.Seconds(), 2)
	r.add("start_cpu_ms_100k", milliseconds(busy), 0)
	r.add("term_s_100k", at.Sub(w.operator.started).Seconds(), 2)
	// What a start costs is over when a message is delivered, and that is logged.
	if _, err := w.deliverOne(ctx, "scale-after"); err != nil {
		return err
	}
	if err := w.loggedStatus(ctx, from, []string{"scale-after"}); err != nil {
		return err
	}
	return w.watchIdle(ctx, r)
}

// watchIdle reports memory, CPU time and requests of an operator with nothing to do.
func (w *world) watchIdle(ctx context.Context, r *report) error {
	from, err := w.audit.end()
	if err != nil {
		return err
	}
	before, err := w.operator.cpu()
	if err != nil {
		return err
	}
	var resident, highest float64
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for over := time.After(scaleWatch); ; {
		var now float64
		if now, highest, err = w.operator.memory(); err != nil {
			return err
		}
		resident = max(resident, now)
		select {
		case <-look.C:
			continue
		case <-w.operator.Ended():
			return errors.New("the operator has ended while it had nothing to do")
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
		}
		break
	}
	after, err := w.operator.cpu()
	if err != nil {
		return err
	}
	requests, err := w.audit.since(from)
	if err != nil {
		return err
	}
	say("  requests in %s: %s", scaleWatch, tally(requests))
	asked := 0
	for _, q := range requests {
		if q.ObjectRef.Resource != "leases" {
			asked++
		}
	}
	if asked == len(requests) {
		return errors.New("the log shows no renewal of the Lease: it does not show what the operator asks for")
	}
	r.add("rss_mb_100k", highest, 0)
	r.add("rss_after_mb_100k", resident, 0)
	r.add("idle_requests_100k", float64(asked), 0)
	r.add("idle_cpu_ms_100k", milliseconds(after-before), 0)
	return nil
}
