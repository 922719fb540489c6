// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// step is one of what the run shows.
type step struct {
	name string
	// needed: what comes after it makes no sense without it.
	needed bool
	// removes: what it leaves is not what one would look at.
	removes bool
	run     func(context.Context) (seen string)
}

// steps are those of every cluster, in order.
func (w *world) steps() []step {
	all := []step{
		{name: "namespaces that enforce restricted Pod Security", needed: true, run: w.namespaces},
		{name: "teamtalk-dev is ready behind a Service", needed: true, run: w.installTeamTalk},
		{name: "helm install: two operators, two gateways", needed: true, run: w.installChart},
		{name: "the TeamTalkServer is Ready", needed: true, run: w.serverReady},
		{name: "messages are Delivered, each in the store once", needed: true, run: w.first},
		{name: "a message through the gateway", run: w.throughGateway},
		{name: "metrics for those who may", run: w.metrics},
		{name: "NetworkPolicies are there", run: w.policies},
		// First, as a leader whose own term has begun in doubt has no clean end for a while.
		{name: "the leader's pod is deleted in order under load, three times", run: w.shut},
		{name: "that, until the next is delivered: at most 2 s (median)", run: w.within("shut", barShut)},
		{name: "helm upgrade under load: nothing missing, nothing twice", run: w.upgrade},
	}
	if w.kill != nil {
		all = append(all,
			step{name: "the leader is killed (-9) under load: nothing missing, nothing twice", run: w.killed},
			step{name: "kill -9 until the next is delivered: at most 20 s", run: w.within("killed", barKilled)},
		)
	}
	all = append(all,
		step{name: "the leader's pod is deleted with grace period 0 under load", run: w.removed},
		step{name: "helm uninstall leaves messages and CRDs", removes: true, run: w.uninstall},
	)
	return all
}

// play runs the steps. If the run is to be kept, it waits before removals and after failures until ctx ends.
func (w *world) play(ctx context.Context, t *table, steps []step) {
	broken := false
	for _, s := range steps {
		if w.Keep && ctx.Err() == nil && (s.removes || !t.passed()) {
			say("kept: Ctrl-C removes it")
			<-ctx.Done()
		}
		if broken || ctx.Err() != nil {
			t.add(row{Step: s.name, NotRun: true})
			continue
		}
		err := t.timed(s.name, func() (seen string) {
			err := framework.Try(func() { seen = s.run(ctx) })
			if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
				err = cause // a program of the node has ended, which explains more
			}
			framework.Must(err)
			return seen
		})
		broken = broken || err != nil && s.needed
	}
	t.keep()
}
