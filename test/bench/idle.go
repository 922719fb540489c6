// SPDX-License-Identifier: Apache-2.0

package main

import "context"

// idleSamples is how many messages are timed; the 99th percentile is the third highest of them.
const idleSamples = 300

// idle measures, one message at a time, from the create request to the watch event Delivered.
func idle(ctx context.Context, w *world, r *report) {
	w.deliverOne(ctx, "idle-warm")
	users := w.o.users[:min(len(w.o.users), idleSamples)]
	b := batch{namespace: namespace, prefix: "idle", n: idleSamples, users: users}
	var took []float64
	for i := range b.n {
		began, ended := w.deliver(ctx, b.message(i))
		took = append(took, milliseconds(ended.Sub(began)))
	}
	w.bare.verify(ctx, users, idleSamples, b.textsOf)
	r.add("idle_p50_ms", percentile(took, 50), 1)
	r.add("idle_p99_ms", percentile(took, 99), 1)
}
