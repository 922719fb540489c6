// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// bulkUsers is how many users one message goes to, the most that it may.
const bulkUsers = 1000

// bulk compares one message to many users with a bare client that sends the same
// to the same users. Both sides take turns, and which begins changes from round to
// round; the first round, in which conversations come into being, is not counted.
func bulk(ctx context.Context, w *world, r *report) error {
	if err := w.lead(ctx); err != nil {
		return err
	}
	t, err := w.track(ctx)
	if err != nil {
		return err
	}
	defer t.stop()
	users := w.o.users[:bulkUsers]
	var rounds []bulkRound
	for round := range w.o.rounds + 1 {
		var b bulkRound
		sides := []func() error{
			func() (err error) { return w.bulkOnce(ctx, t, &b, users, round) },
			func() error {
				took, err := w.bare.send(ctx, users, len(users), func(int) string { return bulkText("bare", round) })
				b.bare = perSecond(len(users), took)
				return err
			},
		}
		for i := range sides {
			if err := sides[(i+round)%2](); err != nil {
				return err
			}
		}
		say("  round %d: %.0f/s by the operator (%.0f ms of its CPU, %.0f ms for the API server's last status write), "+
			"%.0f/s by the bare client: %.3f",
			round, b.delivered, milliseconds(b.cpu), milliseconds(b.status), b.bare, b.ratio())
		if round > 0 {
			rounds = append(rounds, b)
		}
	}
	recorded, err := w.recordBulk(ctx, t, users)
	if err != nil {
		return err
	}
	r.add("bulk_ratio", medianOf(rounds, bulkRound.ratio), 3)
	r.add("bulk_recorded_ratio", medianOf(rounds, func(b bulkRound) float64 {
		return b.delivered * (1/b.bare + recorded.Seconds()/float64(len(users)))
	}), 3)
	r.add("bulk_per_s", medianOf(rounds, func(b bulkRound) float64 { return b.delivered }), 0)
	r.add("bulk_bare_per_s", medianOf(rounds, func(b bulkRound) float64 { return b.bare }), 0)
	r.add("bulk_status_ms", medianOf(rounds, func(b bulkRound) float64 { return milliseconds(b.status) }), 0)
	r.add("bulk_record_ms", milliseconds(recorded), 0)
	r.add("bulk_cpu_ms", medianOf(rounds, func(b bulkRound) float64 { return milliseconds(b.cpu) }), 0)
	return w.clear(ctx, namespace)
}

// bulkRound is what one round has measured: messages per second on both sides, the
// operator's CPU time, and how long the API server took for its last status write.
type bulkRound struct {
	delivered, bare float64
	cpu, status     time.Duration
}

func (b bulkRound) ratio() float64 { return b.delivered / b.bare }

// bulkText is as long on either side.
func bulkText(side string, round int) string {
	return fmt.Sprintf("Code freeze %d starts on Monday at nine (%s)", round, side)
}

// bulkOnce sends one message to all users and measures how many it reaches in a
// second, from the create request to the status that shows it Finished.
func (w *world) bulkOnce(ctx context.Context, t *tracker, b *bulkRound, users []uint32, round int) error {
	text := bulkText("ours", round)
	m := message(namespace, fmt.Sprintf("bulk-%d", round), text, users...)
	from, err := w.audit.end()
	if err != nil {
		return err
	}
	before, err := w.operator.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := w.admin.Create(ctx, m); err != nil {
		return fmt.Errorf("create a message: %w", err)
	}
	at, err := t.await(ctx, m.Name)
	if err != nil {
		return err
	}
	after, err := w.operator.cpu()
	if err != nil {
		return err
	}
	b.delivered, b.cpu = perSecond(len(users), at.Sub(began)), after-before
	if err := w.loggedStatus(ctx, from, []string{m.Name}); err != nil {
		return err
	}
	requests, err := w.audit.since(from)
	if err != nil {
		return err
	}
	for _, q := range requests {
		if q.statusWrite() && q.ObjectRef.Name == m.Name {
			b.status = q.Answered.Sub(q.Received) // the last one's stays
		}
	}
	return w.bare.verify(ctx, users, 16, func(int) []string { return []string{text} })
}

// recordBulk measures what Kubernetes takes by itself for one message to all users,
// with no operator there: from the create request, through one status write like the
// operator's by the bare client, to the watch event that shows it Finished. It
// returns the median of as many as there are rounds.
func (w *world) recordBulk(ctx context.Context, t *tracker, users []uint32) (time.Duration, error) {
	pattern := message(namespace, "bulk-0", "")
	if err := w.admin.Get(ctx, client.ObjectKeyFromObject(pattern), pattern); err != nil {
		return 0, fmt.Errorf("read a message: %w", err)
	}
	if err := w.retire(ctx); err != nil {
		return 0, err
	}
	var took []float64
	for round := range w.o.rounds {
		m := message(namespace, fmt.Sprintf("record-%d", round), bulkText("bare", round), users...)
		began := time.Now()
		if err := w.admin.Create(ctx, m); err != nil {
			return 0, fmt.Errorf("create a message: %w", err)
		}
		m.Status = pattern.Status
		if err := w.asBare.Status().Update(ctx, m); err != nil {
			return 0, fmt.Errorf("the bare client: write a status: %w", err)
		}
		at, err := t.await(ctx, m.Name)
		if err != nil {
			return 0, err
		}
		took = append(took, float64(at.Sub(began)))
	}
	return time.Duration(median(took)), nil
}
