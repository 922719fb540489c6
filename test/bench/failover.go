// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// failoverRounds at most: each waits for a Lease to expire and for doubts to settle.
	failoverRounds = 3
	// failoverBurst messages are created as fast as can be, and the leader ends when
	// failoverSeen of them have finished: the others are in flight, or are not
	// created any more.
	failoverBurst, failoverSeen = 500, 50
	// failoverPace is how often another message is created after that.
	failoverPace = 20 * time.Millisecond
)

// takeover is what became of messages when the leader ended.
type takeover struct {
	// term is until the standby's term began, next until a message that was created
	// later was delivered, settled until all that were created before had finished.
	term, next, settled time.Duration
	inFlight            int
	// undelivered ended some other way, such as in doubt for good.
	undelivered int
}

// failover measures how long messages wait when the leader ends while a standby is
// ready: killed, and shut down.
func failover(ctx context.Context, w *world, r *report) error {
	rounds := min(w.o.rounds, failoverRounds)
	for _, c := range []struct {
		what string
		term string
		next string
		all  string
		end  func(*operator) error
	}{
		{"kill -9", "failover_term_s", "failover_s", "recovery_s", func(o *operator) error { o.Kill(); return nil }},
		{"SIGTERM", "handover_term_s", "handover_s", "handover_recovery_s", (*operator).interrupt},
	} {
		var term, next, settled []float64
		undelivered := 0
		for round := range rounds {
			k, err := w.takeover(ctx, fmt.Sprintf("%s-%d", c.next[:len(c.next)-2], round), c.end)
			if err != nil {
				return fmt.Errorf("%s: %w", c.what, err)
			}
			say("  %s, round %d: the standby led after %.2f s, the next was delivered after %.2f s, the %d in flight had "+
				"settled after %.2f s; %d not delivered",
				c.what, round+1, k.term.Seconds(), k.next.Seconds(), k.inFlight, k.settled.Seconds(), k.undelivered)
			term = append(term, k.term.Seconds())
			next, settled = append(next, k.next.Seconds()), append(settled, k.settled.Seconds())
			undelivered += k.undelivered
		}
		r.add(c.term, median(term), 2)
		r.add(c.next, median(next), 2)
		r.add(c.all, median(settled), 2)
		if undelivered > 0 {
			return fmt.Errorf("%s: %d messages were not delivered", c.what, undelivered)
		}
	}
	return nil
}
