// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// outage is how long reads stay wrong. It is longer than a proof of absence takes.
const outage = settle + lag + 3*time.Second

func readScenarios() []scenario {
	return []scenario{
		{
			name: "empty-users", clause: "all reads about users return nothing",
			short: true, run: func(ctx context.Context, w *world) { w.emptyReads(ctx, false) },
		},
		{
			name: "empty-groups", clause: "all reads about groups return nothing",
			run: func(ctx context.Context, w *world) { w.emptyReads(ctx, true) },
		},
		{name: "redis-flushed", needsDev: true, run: redisFlushed,
			clause: "Redis is flushed: groups look empty until the next message to them"},
		{name: "replica-lag", needsDev: true, short: true, run: replicaLag,
			clause: "reads lag by less than maxReplicaLagSeconds"},
	}
}

// doubtful ends connections instead of answering some messages, which are stored. It calls then before each end.
func (w *world) doubtful(group bool, then func(faultproxy.Frame)) *faultproxy.Armed {
	return w.onDB(faultproxy.Rule{
		Direction: faultproxy.ToClient, Commands: messages, Every: 5, Count: max(2, w.size/25), OnFire: then,
		Do:    faultproxy.Cut,
		Match: func(f faultproxy.Frame) bool { return f.Group() == group },
	})
}

func (w *world) emptyReads(ctx context.Context, group bool) {
	w.onlyGroups = group
	var out atomic.Bool
	w.onDB(faultproxy.Rule{
		Direction: faultproxy.ToClient, Do: faultproxy.Empty,
		Match: func(f faultproxy.Frame) bool {
			return out.Load() && f.Command != wire.CommandMsgData &&
				(f.Group() == group || f.Command == wire.CommandUsersInfoRsp)
		},
	})
	// Reads are wrong from the first doubt on, because the operator must learn nothing before.
	cut := w.doubtful(group, func(faultproxy.Frame) { out.Store(true) })
	w.send(ctx, w.size)
	framework.Must(cut.Await(ctx, 1))
	after(ctx, outage)
	out.Store(false)
	cut.Remove()
}

func redisFlushed(ctx context.Context, w *world) {
	w.onlyGroups = true
	cut := w.doubtful(true, nil)
	w.send(ctx, w.size/2)
	framework.Must(cut.Await(ctx, 1))
	w.inDev(devserver.Fault{Kind: devserver.RedisFlushed})
	after(ctx, outage)
	// New messages in the groups make their members readable again.
	w.warmUp(ctx)
	w.send(ctx, w.size-w.size/2)
}

func replicaLag(ctx context.Context, w *world) {
	w.doubtful(false, nil)
	w.inDev(devserver.Fault{Kind: devserver.Lag, Delay: lag - 500*time.Millisecond})
	w.send(ctx, w.size)
}
