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
			name:   "recreated-keyed",
			clause: "resources are recreated while db_proxy may still execute the old requests",
			short:  true, run: recreatedKeyed,
		},
		{
			name: "key-reused", clause: "idempotencyKeys were used for another text",
			run: keyReused,
		},
		{
			name: "restored", clause: "the cluster is restored from a backup of before the send",
			alone: true, short: true, run: restored,
		},
	}
}

func (w *world) giveKey(m *message) { m.key = fmt.Sprintf("%s-%d", w.id, m.number) }

// recreatedKeyed cuts connections at requests, which are executed after the replica lag. It recreates the resources
// before that.
func recreatedKeyed(ctx context.Context, w *world) {
	// All resources exist when they become due. Then an empty history would prove that no message of a key was sent.
	due := time.Now().Add(settle + lag + time.Duration(w.size)*20*time.Millisecond).Truncate(time.Second)
	w.deal = func(m *message) {
		w.giveKey(m)
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
	w.each(ctx, fresh, w.create)
	for range late.Count {
		select {
		case number := <-cut:
			w.recreate(ctx, w.messages[number-1])
		case <-ctx.Done():
			framework.Failf("%d of %d requests were cut", late.Fired(), late.Count)
		}
	}
	for _, m := range fresh {
		m.waits = false
	}
}

// keyReused declares every key twice, for the same recipient and with two texts.
func keyReused(ctx context.Context, w *world) {
	w.deal = w.giveKey
	w.doubtful(false, nil)
	first := w.size / 2
	w.send(ctx, first)
	w.finished(ctx)
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
	w.send(ctx, first)
}

func restored(ctx context.Context, w *world) {
	w.deal = w.giveKey
	w.doubtful(false, nil)
	w.send(ctx, w.size)
	// Some messages are finished and some are in progress when the cluster is restored.
	w.await(ctx, "half of the messages are finished", func() (string, bool) {
		n := w.finishedCount(ctx)
		return fmt.Sprintf("%d of them", n), n >= w.size/2
	})
	// This is the worst backup: a Lease that shows nothing in flight, and resources without a record of a send.
	framework.Must(w.leader.Stop(ctx))
	var forgotten atomic.Int64
	w.counts(func() int { return int(forgotten.Load()) })
	w.each(ctx, w.messages, func(ctx context.Context, m *message) {
		forgotten.Add(1)
		w.recreate(ctx, m)
	})
	w.ledCleanly(ctx, w.start())
}
