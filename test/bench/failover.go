package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// failoverRounds at most: each waits for a Lease to expire and for doubts to settle.
	failoverRounds = 3
	// failoverBurst messages are created at once just before the leader ends, and
	// failoverSeen of them have finished when it does: the others are in flight.
	failoverBurst, failoverSeen = 500, 50
	// failoverPace is how often another message is created after that.
	failoverPace = 20 * time.Millisecond
)

// takeover is what became of messages when the leader ended.
type takeover struct {
	// term is until the standby's term began, next until a message that was created
	// later was delivered, settled until all that were created before had finished.
	term, next, settled time.Duration
	inFlight      int
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
			say("  %s, round %d: the standby led after %.2f s, the next was delivered after %.2f s, the %d in flight had settled after %.2f s; %d not delivered",
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

// takeover has a leader end under load, with a standby ready, which leads then.
func (w *world) takeover(ctx context.Context, prefix string, end func(*operator) error) (takeover, error) {
	if err := w.lead(ctx); err != nil {
		return takeover{}, err
	}
	t, err := w.track(ctx)
	if err != nil {
		return takeover{}, err
	}
	defer t.stop()
	if _, err := w.deliverOne(ctx, prefix+"-warm"); err != nil {
		return takeover{}, err
	}
	standby, err := w.startOperator()
	if err != nil {
		return takeover{}, err
	}
	leader := w.operator
	w.operator = standby // from here on it is the one to be stopped in the end
	defer leader.Kill()
	if err := standby.ready(ctx); err != nil {
		return takeover{}, err
	}

	before := batch{namespace: namespace, prefix: prefix + "-before", n: failoverBurst, users: w.o.users}
	var creating sync.WaitGroup
	var burst error
	creating.Go(func() { _, burst = before.create(ctx, w) })
	if err := t.awaitCount(ctx, before.names(), failoverSeen); err != nil {
		creating.Wait()
		return takeover{}, errors.Join(err, burst)
	}
	term, err := w.nextTerm(ctx)
	if err != nil {
		creating.Wait()
		return takeover{}, err
	}
	at := time.Now()
	if err := end(leader); err != nil {
		return takeover{}, fmt.Errorf("end the leader: %w", err)
	}
	var began time.Time
	var termErr error
	creating.Go(func() { began, termErr = term(ctx, standby) })
	first, after, err := w.createUntilDelivered(ctx, t, prefix+"-after")
	if err != nil {
		return takeover{}, err
	}
	creating.Wait()
	if err := errors.Join(burst, termErr); err != nil {
		return takeover{}, err
	}
	k := takeover{term: began.Sub(at), next: first.Sub(at)}
	for _, name := range before.names() {
		e, err := t.awaitEnd(ctx, name)
		if err != nil {
			return takeover{}, err
		}
		if e.at.After(at) {
			k.inFlight++
			k.settled = max(k.settled, e.at.Sub(at))
		}
		if !e.delivered {
			k.undelivered++
		}
	}
	if k.inFlight == 0 {
		return takeover{}, errors.New("nothing was in flight when the leader ended: nothing was measured")
	}
	if _, err := t.await(ctx, after.names()...); err != nil {
		return takeover{}, err
	}
	for _, b := range []batch{before, after} {
		if err := w.bare.verify(ctx, b.users, uint32(before.n+after.n+1), b.textsOf); err != nil {
			return takeover{}, err
		}
	}
	select {
	case <-leader.Ended():
	case <-ctx.Done():
		return takeover{}, ctx.Err()
	}
	return k, w.clear(ctx, namespace)
}

// createUntilDelivered creates messages at an even pace until one is delivered. It
// returns when that was, and all that were created.
func (w *world) createUntilDelivered(ctx context.Context, t *tracker, prefix string) (time.Time, batch, error) {
	b := batch{namespace: namespace, prefix: prefix, users: w.o.users}
	pace := time.NewTicker(failoverPace)
	defer pace.Stop()
	timeout := time.After(patience)
	for {
		if err := w.admin.Create(ctx, message(namespace, b.name(b.n), b.text(b.n), b.users[b.n%len(b.users)])); err != nil {
			return time.Time{}, b, fmt.Errorf("create a message: %w", err)
		}
		b.n++
		select {
		case <-pace.C:
		case <-timeout:
			return time.Time{}, b, fmt.Errorf("nothing delivered within %s of the leader's end", patience)
		case <-ctx.Done():
			return time.Time{}, b, ctx.Err()
		}
		if at, ok := t.firstDelivered(b.names()); ok {
			return at, b, nil
		}
	}
}
