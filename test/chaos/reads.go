// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
)

// outage is how long reads stay wrong: longer than absence takes to be proved.
const outage = settle + lag + 3*time.Second

func readScenarios() []scenario {
	return []scenario{
		{
			name: "empty-users", clause: "all reads about users come back empty, with messages to them in doubt",
			bound: retryBound, short: true, run: func(ctx context.Context, w *world) error { return w.emptyReads(ctx, false) },
		},
		{
			name: "empty-groups", clause: "all reads about groups come back empty, with messages to them in doubt",
			bound: retryBound, run: func(ctx context.Context, w *world) error { return w.emptyReads(ctx, true) },
		},
		{
			name: "redis-flushed", clause: "Redis is flushed: groups look empty until the next message to them",
			bound: retryBound, needsDev: true, run: redisFlushed,
		},
		{
			name: "replica-lag", clause: "reads do not show what was stored last, for less than the declared lag",
			bound: retryBound, needsDev: true, short: true, run: replicaLag,
		},
	}
}

// doubtful ends connections instead of answering some of the messages: those are
// stored, and the operator does not know.
func (w *world) doubtful(group bool) *faultproxy.Armed { return w.doubtfulThen(group, nil) }

// doubtfulThen is doubtful, and calls then before each.
func (w *world) doubtfulThen(group bool, then func(faultproxy.Frame)) *faultproxy.Armed {
	return w.onDB(faultproxy.Rule{
		Direction: faultproxy.ToClient, Commands: messages, Every: 5, Count: max(2, w.size/25), OnFire: then,
		Do:    faultproxy.Cut,
		Match: func(f faultproxy.Frame) bool { return f.Group() == group },
	})
}

func (w *world) emptyReads(ctx context.Context, group bool) error {
	w.onlyGroups = group
	var out atomic.Bool
	w.onDB(faultproxy.Rule{
		Direction: faultproxy.ToClient, Do: faultproxy.Empty,
		Match: func(f faultproxy.Frame) bool {
			return out.Load() && f.Command != wire.CommandMsgData &&
				(f.Group() == group || f.Command == wire.CommandUsersInfoRsp)
		},
	})
	// From the first doubt on: the operator is to learn nothing before.
	cut := w.doubtfulThen(group, func(faultproxy.Frame) { out.Store(true) })
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	if err := cut.Await(ctx, 1); err != nil {
		return err
	}
	if err := after(ctx, outage); err != nil {
		return err
	}
	out.Store(false)
	cut.Remove()
	return nil
}

func redisFlushed(ctx context.Context, w *world) error {
	w.onlyGroups = true
	cut := w.doubtful(true)
	if err := w.send(ctx, w.size/2); err != nil {
		return err
	}
	if err := cut.Await(ctx, 1); err != nil {
		return err
	}
	if err := w.inDev(devserver.Fault{Kind: devserver.RedisFlushed}); err != nil {
		return err
	}
	if err := after(ctx, outage); err != nil {
		return err
	}
	// Somebody writes to the groups: their members can be read again.
	if err := w.warmUp(ctx); err != nil {
		return err
	}
	return w.send(ctx, w.size-w.size/2)
}

func replicaLag(ctx context.Context, w *world) error {
	w.doubtful(false)
	if err := w.inDev(devserver.Fault{Kind: devserver.Lag, Delay: lag - 500*time.Millisecond}); err != nil {
		return err
	}
	return w.send(ctx, w.size)
}
