// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// scaleMessages are finished when the operator starts.
	scaleMessages = 100_000
	// scaleWatch is how long the operator is watched, with nothing to do.
	scaleWatch = 30 * time.Second
)

// scale measures the start of an operator with very many finished messages, and the operator at rest.
func scale(ctx context.Context, w *world, r *report) {
	// The finished ones look like what the operator writes.
	const pattern, after = "scale-pattern", "scale-after"
	w.deliverOne(ctx, pattern)
	w.retire(ctx)
	began := time.Now()
	w.multiply(ctx, pattern, batch{namespace: namespace, prefix: "finished", n: scaleMessages, users: w.o.users})
	r.add("fill_s_100k", time.Since(began).Seconds(), 0)

	term := w.nextTerm(ctx)
	from := w.audit.end()
	w.operator = w.startOperator()
	w.operator.ready(ctx)
	started := time.Since(w.operator.started)
	busy := w.operator.cpu()
	led := term(ctx, w.operator)
	r.add("start_s_100k", started.Seconds(), 2)
	r.add("start_cpu_ms_100k", milliseconds(busy), 0)
	r.add("term_s_100k", led.Sub(w.operator.started).Seconds(), 2)
	// The start has ended when a message is delivered, and that is logged.
	w.deliverOne(ctx, after)
	w.loggedStatus(ctx, from, after)
	w.watchIdle(ctx, r)
}

// watchIdle reports memory, CPU time and requests of an operator with nothing to do.
func (w *world) watchIdle(ctx context.Context, r *report) {
	var resident, highest float64
	u := w.use(ctx, nil, func() {
		for over := time.Now().Add(scaleWatch); time.Now().Before(over); {
			var now float64
			now, highest = w.operator.memory()
			resident = max(resident, now)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-w.operator.Ended():
				framework.Failf("the operator has ended while it had nothing to do")
			case <-ctx.Done():
				framework.Must(ctx.Err())
			}
		}
	})
	say("  requests in %s: %s", scaleWatch, tally(u.requests))
	asked := 0
	for _, q := range u.requests {
		if q.ObjectRef.Resource != "leases" {
			asked++
		}
	}
	if asked == len(u.requests) {
		framework.Failf("the log shows no renewal of the Lease: it does not show what the operator asks for")
	}
	r.add("rss_mb_100k", highest, 0)
	r.add("rss_after_mb_100k", resident, 0)
	r.add("idle_requests_100k", float64(asked), 0)
	r.add("idle_cpu_ms_100k", milliseconds(u.cpu), 0)
}
