// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

// writesMessages is how many messages are created, one after the other.
const writesMessages = 1000

// writes counts what the API server has to do for a message: in its own log, not
// in the client. Everything that the operator asks of it counts but watches, the
// renewals of its Lease included.
func writes(ctx context.Context, w *world, r *report) error {
	if err := w.lead(ctx); err != nil {
		return err
	}
	t, err := w.track(ctx)
	if err != nil {
		return err
	}
	defer t.stop()
	if _, err := w.deliverOne(ctx, "writes-warm"); err != nil {
		return err
	}
	if err := w.loggedStatus(ctx, 0, []string{"writes-warm"}); err != nil {
		return err
	}
	from, err := w.audit.end()
	if err != nil {
		return err
	}
	b := batch{namespace: namespace, prefix: "writes", n: writesMessages, users: w.o.users}
	for i := range b.n {
		if err := w.admin.Create(ctx, b.message(i)); err != nil {
			return fmt.Errorf("create a message: %w", err)
		}
	}
	if _, err := t.await(ctx, b.names()...); err != nil {
		return err
	}
	if err := w.loggedStatus(ctx, from, b.names()); err != nil {
		return err
	}
	requests, err := w.audit.since(from)
	if err != nil {
		return err
	}
	say("  requests for %d messages: %s", b.n, tally(requests))
	written := 0
	for _, q := range requests {
		if q.statusWrite() {
			written++
		}
	}
	r.add("writes_per_message", float64(written)/float64(b.n), 3)
	r.add("requests_per_message", float64(len(requests))/float64(b.n), 3)
	if err := w.bare.verify(ctx, b.users, writesMessages, b.textsOf); err != nil {
		return err
	}
	return w.clear(ctx, namespace)
}

// loggedStatus waits until the log shows a status write for each of the messages:
// a request is logged when it has been answered, which may be after its effect is
// seen in a watch. Each of them has been delivered, so each must have one.
func (w *world) loggedStatus(ctx context.Context, from int64, names []string) error {
	return until(ctx, "the log shows every message's status write", func(context.Context) (bool, error) {
		requests, err := w.audit.since(from)
		if err != nil {
			return false, err
		}
		logged := map[string]bool{}
		for _, q := range requests {
			if q.statusWrite() && q.ResponseStatus.Code == 200 {
				logged[q.ObjectRef.Name] = true
			}
		}
		for _, name := range names {
			if !logged[name] {
				return false, nil
			}
		}
		return true, nil
	})
}
