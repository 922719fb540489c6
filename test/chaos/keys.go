// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func keyScenarios() []scenario {
	return []scenario{
		{
			name: "recreated-keyed",
			clause: "resources with an idempotencyKey are recreated while db_proxy may still execute what was sent for the " +
				"old ones",
			bound: retryBound, short: true, run: recreatedKeyed,
		},
		{
			name: "key-reused", clause: "keys were used for another text before: nothing is sent under them, lost answers or " +
				"not",
			bound: retryBound, run: keyReused,
		},
		{
			name: "restored", clause: "the cluster comes back from a backup taken before the send: with an idempotencyKey " +
				"nothing is sent twice",
			bound: retryBound, alone: true, short: true, run: restored,
		},
	}
}

// keyed gives each message a key of its own.
func keyed(w *world) func(*message) {
	return func(m *message) { m.key = fmt.Sprintf("%s-%d", w.id, m.number) }
}

// recreatedKeyed cuts connections at requests, which are executed later than reads
// may lag, and has the resources recreated at once: the store does not hold yet what
// their keys stand for.
func recreatedKeyed(ctx context.Context, w *world) error {
	// All are there when they become due, and then a plain answer would prove that nobody
	// has sent what has a key.
	due := time.Now().Add(settle + lag + time.Duration(w.size)*20*time.Millisecond).Truncate(time.Second)
	w.deal = func(m *message) {
		keyed(w)(m)
		m.notBefore = due
	}
	cut := make(chan int, w.size)
	late := w.onDB(faultproxy.Rule{
		Commands: messages, Every: 5, Count: max(2, w.size/12), Do: faultproxy.ExecuteLate(lag + executedAfter),
		OnFire: func(f faultproxy.Frame) {
			if which, ok := w.pieceOf(f.Message()); ok {
				cut <- which.number
			}
		},
	})
	fresh := w.more(w.size)
	for _, m := range fresh {
		m.waits = true // their resources are not all there yet
	}
	if err := w.declare(ctx, fresh); err != nil {
		return err
	}
	for range late.Count {
		select {
		case number := <-cut:
			if err := w.recreate(ctx, w.messages[number-1]); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("%d of %d requests were cut", late.Fired(), late.Count)
		}
	}
	for _, m := range fresh {
		m.waits = false
	}
	return nil
}

// keyReused declares every key twice, for the same recipient and with two texts.
func keyReused(ctx context.Context, w *world) error {
	w.deal = keyed(w)
	w.doubtful(false)
	first := w.size / 2
	if err := w.send(ctx, first); err != nil {
		return err
	}
	if err := w.finished(ctx); err != nil {
		return err
	}
	var reused atomic.Int64
	w.counts(func() int { return int(reused.Load()) })
	w.onDB(faultproxy.Rule{
		Direction: faultproxy.ToClient, Commands: []wire.Command{wire.CommandMsgListRsp}, Every: 4, Count: w.size / 10,
		Do: faultproxy.Drop,
	})
	w.deal = func(m *message) {
		before := w.messages[m.number-1-first]
		m.key, m.to, m.want = before.key, before.to, refused
		reused.Add(1)
	}
	return w.send(ctx, first)
}

func restored(ctx context.Context, w *world) error {
	w.deal = keyed(w)
	w.doubtful(false)
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	// Some are done, some under way, when the cluster is set back.
	err := framework.Await(ctx, "half of the messages are finished", func(ctx context.Context) (string, bool, error) {
		n, err := w.finishedCount(ctx)
		return fmt.Sprintf("%d of them", n), n >= w.size/2, err
	})
	if err != nil {
		return err
	}
	// The worst of all backups: its Lease says that nothing was in flight, and its
	// resources know nothing of having been sent.
	if err := w.leader.Stop(ctx); err != nil {
		return err
	}
	var forgotten atomic.Int64
	w.counts(func() int { return int(forgotten.Load()) })
	err = w.each(ctx, w.messages, func(ctx context.Context, m *message) error {
		forgotten.Add(1)
		return w.recreate(ctx, m)
	})
	if err != nil {
		return err
	}
	next, err := w.start(ctx)
	if err != nil {
		return err
	}
	return w.ledCleanly(ctx, next)
}
