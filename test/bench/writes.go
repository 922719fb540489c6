// SPDX-License-Identifier: Apache-2.0

package main

import "context"

// writesMessages is how many messages are created, one after the other.
const writesMessages = 1000

// writes counts the operator's requests in the API server's log, also renewals of the Lease, but no watches.
func writes(ctx context.Context, w *world, r *report) {
	w.deliverOne(ctx, "writes-warm")
	w.loggedStatus(ctx, 0, "writes-warm")
	b := batch{namespace: namespace, prefix: "writes", n: writesMessages, users: w.o.users}
	u := w.use(ctx, b.names(), func() {
		for i := range b.n {
			w.create(ctx, b.message(i))
		}
		w.tracker.await(ctx, b.names()...)
	})
	say("  requests for %d messages: %s", b.n, tally(u.requests))
	written := 0
	for _, q := range u.requests {
		if q.statusWrite() {
			written++
		}
	}
	r.add("writes_per_message", float64(written)/float64(b.n), 3)
	r.add("requests_per_message", float64(len(u.requests))/float64(b.n), 3)
	w.bare.verify(ctx, b.users, writesMessages, b.textsOf)
}
