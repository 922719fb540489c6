// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// idleSamples is how many messages are timed; the 99th percentile is the third highest of them.
const idleSamples = 300

// idle measures, one message at a time, from the create request to the watch event Delivered.
func idle(ctx context.Context, w *world, r *report) {
	w.deliverOne(ctx, "idle-warm")
	w.deliverEach(ctx, r, "idle", 0)
}

// deliverEach delivers one message after the other, begun at least pause after the one before, and reports how long
// they took.
func (w *world) deliverEach(ctx context.Context, r *report, prefix string, pause time.Duration) {
	users := w.o.users[:min(len(w.o.users), idleSamples)]
	b := batch{namespace: namespace, prefix: strings.ReplaceAll(prefix, "_", "-"), n: idleSamples, users: users}
	var took []float64
	for i := range b.n {
		next := time.After(pause)
		began, ended := w.deliver(ctx, b.message(i))
		took = append(took, milliseconds(ended.Sub(began)))
		select {
		case <-next:
		case <-ctx.Done():
			framework.Must(ctx.Err())
		}
	}
	w.bare.verify(ctx, users, idleSamples, b.textsOf)
	r.add(prefix+"_p50_ms", percentile(took, 50), 1)
	r.add(prefix+"_p99_ms", percentile(took, 99), 1)
}
