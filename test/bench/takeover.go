// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// takeover has a leader end under load, with a standby ready, which leads then.
func (w *world) takeover(ctx context.Context, prefix string, end func(*operator) error) (takeover, error) {
	t, err := w.track(ctx)
	if err != nil {
		return takeover{}, err
	}
	defer t.stop()
	leader, err := w.pair(ctx, prefix)
	if err != nil {
		return takeover{}, err
	}
	defer leader.Kill()
	term, err := w.nextTerm(ctx)
	if err != nil {
		return takeover{}, err
	}
	before := w.burst(ctx, batch{namespace: namespace, prefix: prefix + "-before", n: failoverBurst, users: w.o.users})
	defer func() { _ = before.stop() }() // where it matters it has been looked at
	if err := t.awaitCount(ctx, before.batch.names(), failoverSeen); err != nil {
		return takeover{}, errors.Join(err, before.stop())
	}
	at := time.Now()
	if err := errors.Join(end(leader), before.stop()); err != nil {
		return takeover{}, err
	}
	first, after, err := w.createUntilDelivered(ctx, t, prefix+"-after")
	if err != nil {
		return takeover{}, err
	}
	began, err := term(ctx, w.operator)
	if err != nil {
		return takeover{}, err
	}
	k := takeover{term: began.Sub(at), next: first.Sub(at)}
	if err := k.settle(ctx, t, before.created, at); err != nil {
		return takeover{}, err
	}
	if _, err := t.await(ctx, after.names()...); err != nil {
		return takeover{}, err
	}
	rows := uint32(failoverBurst + after.n + 1) // more than any user has got
	if err := w.bare.verify(ctx, after.users, rows, after.textsOf); err != nil {
		return takeover{}, err
	}
	if err := w.bare.verify(ctx, after.users, rows, before.textsOf); err != nil {
		return takeover{}, err
	}
	select {
	case <-leader.Ended():
	case <-ctx.Done():
		return takeover{}, ctx.Err()
	}
	return k, w.clear(ctx, namespace)
}

// pair returns the leader, which is at work, after a standby has become ready. The
// standby takes its place as the world's operator.
func (w *world) pair(ctx context.Context, prefix string) (leader *operator, err error) {
	if err := w.lead(ctx); err != nil {
		return nil, err
	}
	if _, err := w.deliverOne(ctx, prefix+"-warm"); err != nil {
		return nil, err
	}
	standby, err := w.startOperator()
	if err != nil {
		return nil, err
	}
	leader, w.operator = w.operator, standby
	if err := standby.ready(ctx); err != nil {
		leader.Kill()
		return nil, err
	}
	return leader, nil
}

// settle waits until all that were in flight at a moment have finished: those that
// were created before it and not seen finished by then.
func (k *takeover) settle(ctx context.Context, t *tracker, created map[string]time.Time, at time.Time) error {
	for name, acknowledged := range created {
		e, err := t.awaitEnd(ctx, name)
		if err != nil {
			return err
		}
		if acknowledged.Before(at) && e.at.After(at) {
			k.inFlight++
			k.settled = max(k.settled, e.at.Sub(at))
		}
		if !e.delivered {
			k.undelivered++
		}
	}
	if k.inFlight == 0 {
		return errors.New("nothing was in flight when the leader ended: nothing was measured")
	}
	return nil
}

// burst is messages that are being created as fast as can be.
type burst struct {
	batch batch
	stop  func() error
	// created says when the API server had acknowledged which; it is complete once
	// stop has returned.
	created map[string]time.Time
}

// burst begins to create a batch, until it is stopped. Stopping it returns what
// went wrong.
func (w *world) burst(ctx context.Context, b batch) *burst {
	s := &burst{batch: b, created: map[string]time.Time{}}
	var mu sync.Mutex
	stopped := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- parallel(ctx, creators, b.n, func(ctx context.Context, i int) error {
			select {
			case <-stopped:
				return nil
			default:
			}
			m := b.message(i)
			if err := w.admin.Create(ctx, m); err != nil {
				return fmt.Errorf("create a message: %w", err)
			}
			mu.Lock()
			defer mu.Unlock()
			s.created[m.Name] = time.Now()
			return nil
		})
	}()
	s.stop = sync.OnceValue(func() error {
		close(stopped)
		return <-ended
	})
	return s
}

// textsOf returns what the i-th user gets of those that were created.
func (s *burst) textsOf(user int) []string {
	var texts []string
	for i := user; i < s.batch.n; i += len(s.batch.users) {
		if _, ok := s.created[s.batch.name(i)]; ok {
			texts = append(texts, s.batch.text(i))
		}
	}
	return texts
}

// createUntilDelivered creates messages at an even pace until one is delivered. It
// returns when that was, and all that were created.
func (w *world) createUntilDelivered(ctx context.Context, t *tracker, prefix string) (time.Time, batch, error) {
	b := batch{namespace: namespace, prefix: prefix, users: w.o.users}
	pace := time.NewTicker(failoverPace)
	defer pace.Stop()
	timeout := time.After(patience)
	for {
		if err := w.admin.Create(ctx, b.message(b.n)); err != nil {
			return time.Time{}, b, fmt.Errorf("create a message: %w", err)
		}
		b.n++
		select {
		case <-pace.C:
		case <-timeout:
			n, _, _ := t.count(b.names())
			return time.Time{}, b, fmt.Errorf("nothing delivered within %s of the leader's end: of %d messages created since, "+
				"%d have finished",
				patience, b.n, n)
		case <-ctx.Done():
			return time.Time{}, b, ctx.Err()
		}
		at, ok, err := t.firstDelivered(b.names())
		if ok || err != nil {
			return at, b, err
		}
	}
}
