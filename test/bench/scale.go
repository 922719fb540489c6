// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// scaleStep is how many messages are finished when the operator starts. At the end there are three times as many.
	scaleStep = 100_000
	// scaleTTL is the TTL of the messages that have one, in seconds: a week.
	scaleTTL = 7 * 24 * 3600
	// scaleWatch is how long the operator is watched, with nothing to do.
	scaleWatch = 30 * time.Second
)

// scale measures the start of an operator without messages and with very many finished ones, and each at rest.
func scale(ctx context.Context, w *world, r *report) {
	const pattern = "scale-pattern"
	w.deliverOne(ctx, pattern)
	w.retire(ctx)
	w.measureStart(ctx, r, "empty", 1, 0)

	finished := func(prefix string, n int) copies {
		return copies{batch: batch{namespace: namespace, prefix: prefix, n: n, users: w.o.users}}
	}
	half, rest := finished("half", scaleStep/2), finished("rest", scaleStep/2)
	w.multiply(ctx, pattern, rest)
	half.ttlSeconds = ptr.To[int32](scaleTTL)
	w.multiply(ctx, pattern, half)
	w.measureStart(ctx, r, "100k_ttl", rest.n, half.n)
	half.ttlSeconds = nil
	w.multiply(ctx, pattern, half)
	w.measureStart(ctx, r, "100k", scaleStep, 0)
	w.multiply(ctx, pattern, finished("more", 2*scaleStep))
	w.measureStart(ctx, r, "300k", 3*scaleStep, 0)
}

// measureStart starts an operator and shuts it down after it has been at rest. At least so many messages are settled,
// and so many have finished and have a TTL.
func (w *world) measureStart(ctx context.Context, r *report, suffix string, settled, expiring int) {
	after := "after-" + strings.ReplaceAll(suffix, "_", "-")
	term := w.nextTerm(ctx)
	from, logged := w.audit.end(), len(w.log.String())
	w.operator = w.startOperator()
	w.operator.ready(ctx)
	started, busy := time.Since(w.operator.started), w.operator.cpu()
	r.add("start_s_"+suffix, started.Seconds(), 2)
	r.add("start_cpu_ms_"+suffix, milliseconds(busy), 0)
	term(ctx, w.operator)
	busy = w.operator.cpu()
	seconds := max(
		w.awaitSweep(ctx, logged, "settled messages", settled), w.awaitSweep(ctx, logged, "unsettled messages", expiring))
	r.add("sweep_s_"+suffix, seconds, 2)
	r.add("sweep_cpu_ms_"+suffix, milliseconds(w.operator.cpu()-busy), 0)
	// The start has ended when a message is delivered, and that is logged.
	w.deliverOne(ctx, after)
	w.loggedStatus(ctx, from, after)
	w.watchIdle(ctx, r, suffix)
	w.retire(ctx)
}

// sweep is the operator's log line after it has listed all finished messages of a selection, once in a term.
type sweep struct {
	Messages int     `json:"messages"`
	Seconds  float64 `json:"seconds"`
}

// awaitSweep waits until the operator has logged the end of a sweep, behind a position of the log, and returns how
// many seconds it took. At least so many messages must be in it.
func (w *world) awaitSweep(ctx context.Context, logged int, what string, messages int) float64 {
	var s sweep
	until(ctx, "the operator logs that it listed the "+what, func(context.Context) (ok bool) {
		s, ok = sweepIn(w.log.String()[logged:], what)
		return ok
	})
	if s.Messages < messages {
		framework.Failf("the operator listed %d %s, want %d", s.Messages, what, messages)
	}
	return s.Seconds
}

// sweepIn finds the line about a sweep in a log.
func sweepIn(log, what string) (s sweep, ok bool) {
	_, line, _ := strings.Cut(log, "listed the "+what)
	line, _, whole := strings.Cut(line, "\n")
	if !whole {
		return s, false
	}
	framework.Mustf(json.Unmarshal([]byte(line), &s), "read the log about the %s", what)
	return s, true
}

// watchIdle reports memory, CPU time and requests of an operator with nothing to do.
func (w *world) watchIdle(ctx context.Context, r *report, suffix string) {
	u := w.use(ctx, nil, func() {
		select {
		case <-time.After(scaleWatch):
		case <-w.operator.Ended():
			framework.Failf("the operator has ended while it had nothing to do")
		case <-ctx.Done():
			framework.Must(ctx.Err())
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
	r.add("rss_mb_"+suffix, w.operator.peakMemory(), 0)
	r.add("idle_requests_"+suffix, float64(asked), 0)
	r.add("idle_cpu_ms_"+suffix, milliseconds(u.cpu), 0)
}
