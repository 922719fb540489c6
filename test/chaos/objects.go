// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
)

func objectScenarios() []scenario {
	return []scenario{
		{
			name: "secret-rotated", clause: "the key is replaced while messages are under way and in doubt",
			bound: retryBound, short: true, run: secretRotated,
		},
		{
			name: "edited", clause: "resources are edited while their messages are under way, and after they have failed",
			bound: retryBound, short: true, run: edited,
		},
		{
			name: "deleted", clause: "resources are deleted while their messages are under way",
			bound: retryBound, short: true, run: deleted,
		},
		{
			name: "recreated", clause: "resources are deleted and others made of their names while messages are under way",
			bound: retryBound, short: true, run: recreated,
		},
	}
}

// slowly delays answers so that there is time to do something mid-flight.
func (w *world) slowly() *faultproxy.Armed {
	return w.db.Add(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages,
		Do: faultproxy.Delay(500 * time.Millisecond)})
}

func secretRotated(ctx context.Context, w *world) error {
	cut := w.doubtful(false)
	slow := w.slowly()
	if err := w.send(ctx, w.size/2); err != nil {
		return err
	}
	if err := errors.Join(cut.Await(ctx, 1), slow.Await(ctx, 1)); err != nil {
		return err
	}
	if err := w.lane.admin.Update(ctx, w.secret(secondKey, w.keys[0])); err != nil {
		return err
	}
	w.counts(func() int { return 1 })
	slow.Remove()
	return w.send(ctx, w.size-w.size/2)
}

// absent is a user that no TeamTalk has.
const absent = 2147483646

func edited(ctx context.Context, w *world) error {
	slow := w.slowly()
	var edits atomic.Int64
	w.counts(func() int { return int(edits.Load()) })
	failing := func(m *message) bool { return m.number%5 == 1 && !m.to[0].group }
	w.mu.Lock()
	w.misdirect = failing
	w.mu.Unlock()
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	err := w.each(ctx, w.messages, func(ctx context.Context, m *message) error {
		if failing(m) {
			return nil
		}
		for limit := range 3 {
			if err := w.patch(ctx, m,
				fmt.Sprintf(`{"metadata":{"labels":{"edit":"%d"}},"spec":{"retryLimit":%d}}`, limit, 10+limit)); err != nil {
				return err
			}
			edits.Add(1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slow.Remove()
	if err := w.finished(ctx); err != nil {
		return err
	}
	// Those that failed are sent once they are put right, and edited again meanwhile.
	return w.each(ctx, w.messages, func(ctx context.Context, m *message) error {
		if !failing(m) {
			return nil
		}
		edits.Add(1)
		return errors.Join(
			w.patch(ctx, m, fmt.Sprintf(`{"spec":{"to":{"users":[%d]}}}`, m.to[0].id)),
			w.patch(ctx, m, `{"spec":{"retryLimit":7}}`))
	})
}

func (w *world) patch(ctx context.Context, m *message, patch string) error {
	return w.lane.admin.Patch(ctx, w.object(m), client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// someEvery: each n-th message is the one that something is done to.
const someEvery = 3

func deleted(ctx context.Context, w *world) error {
	return w.remove(ctx, func(context.Context, *message) error { return nil })
}

func recreated(ctx context.Context, w *world) error {
	return w.remove(ctx, func(ctx context.Context, m *message) error {
		w.mu.Lock()
		again := &message{number: len(w.messages) + 1, name: m.name, to: m.to}
		w.messages = append(w.messages, again)
		w.mu.Unlock()
		return w.create(ctx, again)
	})
}

// remove deletes some of the messages while they are under way.
func (w *world) remove(ctx context.Context, then func(context.Context, *message) error) error {
	slow := w.slowly()
	defer slow.Remove()
	w.doubtful(false)
	var removed atomic.Int64
	w.counts(func() int { return int(removed.Load()) })
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	if err := slow.Await(ctx, 1); err != nil {
		return err
	}
	var some []*message
	for _, m := range w.messages {
		if m.number%someEvery == 0 {
			some = append(some, m)
		}
	}
	return w.each(ctx, some, func(ctx context.Context, m *message) error {
		m.want = atMostOnce
		if err := w.lane.admin.Delete(ctx, w.object(m)); err != nil {
			return err
		}
		removed.Add(1)
		return then(ctx, m)
	})
}
