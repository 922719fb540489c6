// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func objectScenarios() []scenario {
	return []scenario{
		{name: "secret-rotated", short: true, run: secretRotated,
			clause: "the key is replaced while messages are in flight"},
		{name: "edited", short: true, run: edited,
			clause: "resources are edited while their messages are sent or have failed"},
		{
			name: "deleted", clause: "resources are deleted while their messages are sent", short: true,
			run: func(ctx context.Context, w *world) { w.remove(ctx, nil) },
		},
		{name: "recreated", short: true, run: recreated,
			clause: "resources are replaced under their names while their messages are sent"},
	}
}

// slowly delays answers, so that something can be done while messages are in flight.
func (w *world) slowly() *faultproxy.Armed {
	return w.db.Add(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages,
		Do: faultproxy.Delay(500 * time.Millisecond)})
}

func secretRotated(ctx context.Context, w *world) {
	cut := w.doubtful(false, nil)
	slow := w.slowly()
	w.send(ctx, w.size/2)
	framework.Must(cut.Await(ctx, 1))
	framework.Must(slow.Await(ctx, 1))
	framework.Must(w.cluster.admin.Update(ctx, w.secret(secondKey, w.keys[0])))
	w.counts(func() int { return 1 })
	slow.Remove()
	w.send(ctx, w.size-w.size/2)
}

// absent is the id of a user that no TeamTalk has.
const absent = 2147483646

func edited(ctx context.Context, w *world) {
	slow := w.slowly()
	var edits atomic.Int64
	w.counts(func() int { return int(edits.Load()) })
	failing := func(m *message) bool { return m.number%5 == 1 && !m.to[0].group }
	w.misdirect = failing
	w.send(ctx, w.size)
	w.each(ctx, w.messages, func(ctx context.Context, m *message) {
		for limit := range 3 {
			if !failing(m) {
				w.patch(ctx, m, `{"metadata":{"labels":{"edit":"%d"}},"spec":{"retryLimit":%d}}`, limit, 10+limit)
				edits.Add(1)
			}
		}
	})
	slow.Remove()
	w.finished(ctx)
	// Messages that failed are sent after a correction, and are edited again meanwhile.
	w.each(ctx, w.messages, func(ctx context.Context, m *message) {
		if failing(m) {
			edits.Add(1)
			w.patch(ctx, m, `{"spec":{"to":{"users":[%d]}}}`, m.to[0].id)
			w.patch(ctx, m, `{"spec":{"retryLimit":7}}`)
		}
	})
}

// someEvery selects each n-th message for a change.
const someEvery = 3

func recreated(ctx context.Context, w *world) {
	w.remove(ctx, func(ctx context.Context, m *message) {
		w.mu.Lock()
		again := &message{number: len(w.messages) + 1, name: m.name, to: m.to}
		w.messages = append(w.messages, again)
		w.mu.Unlock()
		w.create(ctx, again)
	})
}

// remove deletes some of the messages while they are in progress.
func (w *world) remove(ctx context.Context, then func(context.Context, *message)) {
	slow := w.slowly()
	defer slow.Remove()
	w.doubtful(false, nil)
	var removed atomic.Int64
	w.counts(func() int { return int(removed.Load()) })
	w.send(ctx, w.size)
	framework.Must(slow.Await(ctx, 1))
	var some []*message
	for _, m := range w.messages {
		if m.number%someEvery == 0 {
			some = append(some, m)
		}
	}
	w.each(ctx, some, func(ctx context.Context, m *message) {
		m.want = atMostOnce
		framework.Must(w.cluster.admin.Delete(ctx, w.object(m)))
		removed.Add(1)
		if then != nil {
			then(ctx, m)
		}
	})
}
