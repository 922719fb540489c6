// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"
)

// idleSamples is how many messages are timed; the 99th percentile is the third
// highest of them.
const idleSamples = 300

// idle measures, one message at a time, from the create request to the moment at
// which a watch shows the message Delivered.
func idle(ctx context.Context, w *world, r *report) error {
	if err := w.lead(ctx); err != nil {
		return err
	}
	t, err := w.track(ctx)
	if err != nil {
		return err
	}
	defer t.stop()
	if _, err := w.deliverOne(ctx, "idle-warm"); err != nil {
		return err
	}
	users := w.o.users[:min(len(w.o.users), idleSamples)]
	b := batch{namespace: namespace, prefix: "idle", n: idleSamples, users: users}
	var took []float64
	for i := range b.n {
		m := b.message(i)
		began := time.Now()
		if err := w.admin.Create(ctx, m); err != nil {
			return fmt.Errorf("create a message: %w", err)
		}
		at, err := t.await(ctx, m.Name)
		if err != nil {
			return err
		}
		took = append(took, sinceMS(began, at))
	}
	if err := w.bare.verify(ctx, users, idleSamples, b.textsOf); err != nil {
		return err
	}
	r.add("idle_p50_ms", percentile(took, 50), 1)
	r.add("idle_p99_ms", percentile(took, 99), 1)
	return w.clear(ctx, namespace)
}
