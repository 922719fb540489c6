// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// failoverRounds at most: each waits for a Lease to expire and for doubts to settle.
	failoverRounds = 3
	// failoverBurst messages are created as fast as possible, until failoverSeen of them have finished and the
	// leader ends.
	failoverBurst, failoverSeen = 500, 50
	// failoverPace is how often another message is created after that.
	failoverPace = 20 * time.Millisecond
)

// takeover is what became of messages when the leader ended.
type takeover struct {
	// Until the standby's term began, a later message was delivered, and all earlier ones had finished.
	term, next, settled time.Duration
	inFlight            int
	// undelivered ended some other way, such as in doubt for good.
	undelivered int
}

// failover measures how long messages wait when the leader ends while a standby is
// ready: killed, and shut down.
func failover(ctx context.Context, w *world, r *report) {
	for _, c := range []struct {
		what, prefix    string
		term, next, all string // values
		end             func(*operator)
	}{
		{"kill -9", "failover", "failover_term_s", "failover_s", "recovery_s", func(o *operator) { o.Kill() }},
		{"SIGTERM", "handover", "handover_term_s", "handover_s", "handover_recovery_s", (*operator).interrupt},
	} {
		var samples []sample
		undelivered := 0
		for round := range min(w.o.rounds, failoverRounds) {
			k := w.takeover(ctx, fmt.Sprintf("%s-%d", c.prefix, round), c.end)
			say("  %s, round %d: the standby led after %.2f s, the next was delivered after %.2f s, the %d in flight had "+
				"settled after %.2f s; %d not delivered",
				c.what, round+1, k.term.Seconds(), k.next.Seconds(), k.inFlight, k.settled.Seconds(), k.undelivered)
			samples = append(samples, sample{c.term: k.term.Seconds(), c.next: k.next.Seconds(), c.all: k.settled.Seconds()})
			undelivered += k.undelivered
		}
		r.addMedians(samples, []column{{c.term, 2}, {c.next, 2}, {c.all, 2}})
		if undelivered > 0 {
			framework.Failf("%s: %d messages were not delivered", c.what, undelivered)
		}
	}
}
