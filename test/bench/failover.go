// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// failoverRounds bounds the rounds. Each waits for a Lease to expire and for doubts to settle.
	failoverRounds = 3
	// failoverBurst messages are created as fast as possible. When failoverSeen of them have finished, the leader
	// ends.
	failoverBurst, failoverSeen = 500, 50
	// failoverPace is how often another message is created after that.
	failoverPace = 20 * time.Millisecond
)

// takeover is the outcome of the messages when the leader ended.
type takeover struct {
	// These are the times until the standby's term began, until a later message was delivered, and until all earlier
	// ones had finished.
	term, next, settled time.Duration
	// found is like settled, only for the messages that the store had when the leader was killed.
	found                time.Duration
	inFlight, foundCount int
	// undelivered messages finished in another way, such as in doubt.
	undelivered int
}

// failover measures how long messages wait after the leader is killed while a standby is ready.
func failover(ctx context.Context, w *world, r *report) {
	takeovers := w.takeovers(ctx, "failover", (*operator).Kill)
	r.addDurations("failover_term_s", takeovers, func(k takeover) time.Duration { return k.term })
	r.addDurations("failover_s", takeovers, func(k takeover) time.Duration { return k.next })
	found := slices.DeleteFunc(slices.Clone(takeovers), func(k takeover) bool { return k.foundCount == 0 })
	r.addDurations("recovery_found_s", found, func(k takeover) time.Duration { return k.found })
	r.addDurations("recovery_s", takeovers, func(k takeover) time.Duration { return k.settled })
}

// handover measures the same after the leader is shut down.
func handover(ctx context.Context, w *world, r *report) {
	takeovers := w.takeovers(ctx, "handover", (*operator).interrupt)
	r.addDurations("handover_term_s", takeovers, func(k takeover) time.Duration { return k.term })
	r.addDurations("handover_s", takeovers, func(k takeover) time.Duration { return k.next })
	r.addDurations("handover_recovery_s", takeovers, func(k takeover) time.Duration { return k.settled })
}

// addDurations reports the median over the takeovers. It reports NaN if there are none.
func (r *report) addDurations(name string, takeovers []takeover, of func(takeover) time.Duration) {
	var seconds []float64
	for _, k := range takeovers {
		seconds = append(seconds, of(k).Seconds())
	}
	r.add(name, median(seconds), 2)
}

// takeovers ends a leader once in each round. It fails if a message is not delivered.
func (w *world) takeovers(ctx context.Context, prefix string, end func(*operator)) (all []takeover) {
	undelivered := 0
	for round := range min(w.o.rounds, failoverRounds) {
		k := w.takeover(ctx, fmt.Sprintf("%s-%d", prefix, round), end)
		say("  round %d: the standby led after %.2f s; the next message was delivered after %.2f s; %d in flight had "+
			"finished after %.2f s; %d of them were stored by then, and had finished after %.2f s; %d not delivered",
			round+1, k.term.Seconds(), k.next.Seconds(), k.inFlight, k.settled.Seconds(), k.foundCount, k.found.Seconds(),
			k.undelivered)
		all = append(all, k)
		undelivered += k.undelivered
	}
	if undelivered > 0 {
		framework.Failf("%s: %d messages were not delivered", prefix, undelivered)
	}
	return all
}

// takeover ends a leader under load while a standby is ready, which then leads.
func (w *world) takeover(ctx context.Context, prefix string, end func(*operator)) takeover {
	t := w.tracker
	leader := w.pair(ctx, prefix)
	defer leader.Kill()
	term := w.nextTerm(ctx)
	before := w.burst(ctx, batch{namespace: namespace, prefix: prefix + "-before", n: failoverBurst, users: w.o.users})
	defer func() { _ = before.stop() }() // below its error counts
	until(ctx, "some messages of the burst have finished", func(context.Context) bool {
		return t.count(before.batch.names()) >= failoverSeen
	})
	at := time.Now()
	end(leader)
	framework.Must(before.stop())
	// A killed leader stores nothing more. One that is shut down does, so the figure has no meaning there.
	stored := w.bare.stored(ctx, before.batch)
	first, after := w.createUntilDelivered(ctx, prefix+"-after")
	k := takeover{term: term(ctx, w.operator).Sub(at), next: first.Sub(at)}
	k.settle(ctx, t, before.created, stored, at)
	t.await(ctx, after.names()...)
	rows := uint32(failoverBurst + after.n + 1) // more than any user has got
	w.bare.verify(ctx, after.users, rows, after.textsOf)
	w.bare.verify(ctx, after.users, rows, before.textsOf)
	select {
	case <-leader.Ended():
	case <-ctx.Done():
		framework.Must(ctx.Err())
	}
	w.clear(ctx, namespace)
	return k
}

// pair returns the leader after a standby has become ready. The standby is the operator of the world then.
func (w *world) pair(ctx context.Context, prefix string) (leader *operator) {
	w.lead(ctx)
	w.deliverOne(ctx, prefix+"-warm")
	leader = w.operator
	w.Cleanup(leader.Kill)
	w.operator = w.startOperator()
	w.operator.ready(ctx)
	return leader
}

// settle waits for the messages in flight at a moment: created before it, and not seen finished by then.
func (k *takeover) settle(
	ctx context.Context, t *tracker, created map[string]time.Time, stored sets.Set[string], at time.Time,
) {
	for name, acknowledged := range created {
		e := t.awaitEnd(ctx, name)
		if acknowledged.Before(at) && e.at.After(at) {
			k.inFlight++
			k.settled = max(k.settled, e.at.Sub(at))
			if stored.Has(name) {
				k.foundCount++
				k.found = max(k.found, e.at.Sub(at))
			}
		}
		if !e.delivered {
			k.undelivered++
		}
	}
	if k.inFlight == 0 {
		framework.Failf("nothing was in flight when the leader ended: nothing was measured")
	}
}

// burst is a batch of messages that are created as fast as possible.
type burst struct {
	batch batch
	stop  func() error
	// created is when the API server acknowledged each message. It is complete once stop has returned.
	created map[string]time.Time
}

// burst begins to create a batch. Its stop returns the error.
func (w *world) burst(ctx context.Context, b batch) *burst {
	s := &burst{batch: b, created: map[string]time.Time{}}
	var mu sync.Mutex
	stopped := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- framework.Parallel(ctx, creators, b.n, func(ctx context.Context, i int) {
			select {
			case <-stopped:
				return
			default:
			}
			m := b.message(i)
			w.create(ctx, m)
			mu.Lock()
			defer mu.Unlock()
			s.created[m.Name] = time.Now()
		})
	}()
	s.stop = sync.OnceValue(func() error {
		close(stopped)
		return <-ended
	})
	return s
}

// textsOf returns the texts of the created messages to the i-th user.
func (s *burst) textsOf(user int) []string {
	var texts []string
	for i := user; i < s.batch.n; i += len(s.batch.users) {
		if _, ok := s.created[s.batch.name(i)]; ok {
			texts = append(texts, s.batch.text(i))
		}
	}
	return texts
}

// createUntilDelivered creates messages at an even pace. It returns when the first one was delivered, and when all
// were.
func (w *world) createUntilDelivered(ctx context.Context, prefix string) (time.Time, batch) {
	b := batch{namespace: namespace, prefix: prefix, users: w.o.users}
	pace := time.NewTicker(failoverPace)
	defer pace.Stop()
	timeout := time.After(patience)
	for {
		w.create(ctx, b.message(b.n))
		b.n++
		select {
		case <-pace.C:
		case <-timeout:
			framework.Failf("nothing delivered within %s of the leader's end: of %d messages created since, %d have finished",
				patience, b.n, w.tracker.count(b.names()))
		case <-ctx.Done():
			framework.Must(ctx.Err())
		}
		if at, ok := w.tracker.firstDelivered(b.names()); ok {
			return at, b
		}
	}
}
