package main

import (
	"context"
	"fmt"
	"time"
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
	var ratios, ours, theirs, busy []float64
	for round := range w.o.rounds + 1 {
		var rate, bareRate float64
		var cpu time.Duration
		sides := []func() error{
			func() (err error) { rate, cpu, err = w.bulkOnce(ctx, t, users, round); return err },
			func() error {
				took, err := w.bare.send(ctx, users, len(users), func(int) string { return bulkText(round) + " (bare)" })
				bareRate = perSecond(len(users), took)
				return err
			},
		}
		for i := range sides {
			if err := sides[(i+round)%2](); err != nil {
				return err
			}
		}
		say("  round %d: %.0f/s by the operator (%.0f ms of its CPU), %.0f/s by the bare client: %.3f",
			round, rate, milliseconds(cpu), bareRate, rate/bareRate)
		if round == 0 {
			continue
		}
		ratios, ours, theirs = append(ratios, rate/bareRate), append(ours, rate), append(theirs, bareRate)
		busy = append(busy, milliseconds(cpu))
	}
	r.add("bulk_ratio", median(ratios), 3)
	r.add("bulk_per_s", median(ours), 0)
	r.add("bulk_bare_per_s", median(theirs), 0)
	r.add("bulk_cpu_ms", median(busy), 0)
	return w.clear(ctx, namespace)
}

func bulkText(round int) string {
	return fmt.Sprintf("Code freeze %d starts on Monday at nine", round)
}

// bulkOnce sends one message to all users and returns how many it reached in a
// second, from the create request to the status that shows it Finished, and the
// operator's CPU time.
func (w *world) bulkOnce(ctx context.Context, t *tracker, users []uint32, round int) (rate float64, cpu time.Duration, err error) {
	m := message(namespace, fmt.Sprintf("bulk-%d", round), bulkText(round), users...)
	before, err := w.operator.cpu()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := w.admin.Create(ctx, m); err != nil {
		return 0, 0, fmt.Errorf("create a message: %w", err)
	}
	at, err := t.await(ctx, m.Name)
	if err != nil {
		return 0, 0, err
	}
	after, err := w.operator.cpu()
	if err != nil {
		return 0, 0, err
	}
	return perSecond(len(users), at.Sub(began)), after - before,
		w.bare.verify(ctx, users, 16, func(int) []string { return []string{bulkText(round)} })
}
