// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// bulkUsers is how many users one message goes to. It is the limit of the API.
const bulkUsers = 1000

// bulk compares one message to many users with a bare client that sends the same text to
// the same users, in turns.
func bulk(ctx context.Context, w *world, r *report) {
	users := w.o.users[:bulkUsers]
	rounds := w.rounds(bulkColumns, func(round int, s sample) {
		inTurn(round, func() { w.bulkOnce(ctx, s, users, round) }, func() {
			text := func(int) string { return bulkText("bare", round) }
			s["bulk_bare_per_s"] = perSecond(len(users), w.bare.send(ctx, users, len(users), text))
		})
		s["bulk_ratio"] = s["bulk_per_s"] / s["bulk_bare_per_s"]
	})
	recorded := w.recordBulk(ctx, users)
	for _, s := range rounds {
		s["bulk_record_ms"] = milliseconds(recorded)
		s["bulk_recorded_ratio"] = s["bulk_per_s"] * (1/s["bulk_bare_per_s"] + recorded.Seconds()/float64(len(users)))
	}
	r.addMedians(rounds, append(bulkColumns, column{"bulk_recorded_ratio", 3}, column{"bulk_record_ms", 0}))
}

// bulkColumns: the CPU time is the operator's; the status is the API server's time for its last status write.
var bulkColumns = []column{
	{"bulk_ratio", 3}, {"bulk_per_s", 0}, {"bulk_bare_per_s", 0}, {"bulk_status_ms", 0}, {"bulk_cpu_ms", 0},
}

// bulkText has the same length on both sides.
func bulkText(side string, round int) string {
	return fmt.Sprintf("Code freeze %d starts on Monday at nine (%s)", round, side)
}

// bulkOnce sends one message to all users, and times it from the create request to the status Finished.
func (w *world) bulkOnce(ctx context.Context, s sample, users []uint32, round int) {
	text := bulkText("ours", round)
	m := message(namespace, fmt.Sprintf("bulk-%d", round), text, users...)
	u := w.use(ctx, []string{m.Name}, func() {
		began, ended := w.deliver(ctx, m)
		s["bulk_per_s"] = perSecond(len(users), ended.Sub(began))
	})
	s["bulk_cpu_ms"] = milliseconds(u.cpu)
	for _, q := range u.requests {
		if q.statusWrite() && q.ObjectRef.Name == m.Name {
			s["bulk_status_ms"] = milliseconds(q.Answered.Sub(q.Received)) // the last one's stays
		}
	}
	w.bare.verify(ctx, users, 16, func(int) []string { return []string{text} })
}

// recordBulk returns the time of Kubernetes alone for one message to all users: the create request, one status write
// by the bare client, the watch event. It is the median of the rounds.
func (w *world) recordBulk(ctx context.Context, users []uint32) time.Duration {
	pattern := message(namespace, "bulk-0", "")
	framework.Must(w.admin.Get(ctx, client.ObjectKeyFromObject(pattern), pattern))
	w.retire(ctx)
	var took []float64
	for round := range w.o.rounds {
		m := message(namespace, fmt.Sprintf("record-%d", round), bulkText("bare", round), users...)
		began := time.Now()
		w.create(ctx, m)
		m.Status = pattern.Status
		framework.Mustf(w.asBare.Status().Update(ctx, m), "the bare client: write a status")
		took = append(took, float64(w.tracker.await(ctx, m.Name).Sub(began)))
	}
	return time.Duration(median(took))
}
