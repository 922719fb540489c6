// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/chaos/mutants"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// otherLeases is the namespace of the Lease of a second installation.
const otherLeases = "other-leases"

// installationScenarios are about operators without a common Lease, or without a common clock.
func installationScenarios() []scenario {
	return takeovers([]scenario{
		{name: "two-installations", run: twoInstallations,
			clause: "a second installation has its own Lease, and the first one is lost"},
		{name: "leader-paused-other-lease", run: leaderPausedOtherLease,
			clause: "a leader is paused, replaced by an operator with another Lease, and resumes"},
		{name: "clock-ahead", run: clockAhead, firstBuild: "clock-ahead",
			clause: "kill -9 of an operator whose clock is 75 s ahead"},
	})
}

// install starts an operator of another installation, with a Lease of its own, which it gets at once.
func (w *world) install(ctx context.Context) *operator {
	framework.Must(w.cluster.allowLease(ctx, otherLeases))
	o := w.cluster.startOperatorAs(w.cluster.binary, otherLeases)
	w.operators = append(w.operators, o)
	w.leading(ctx, o)
	return o
}

// refused waits until the other installation has seen the owner of the server. It counts an installation that does
// not refuse.
func (w *world) refused(ctx context.Context, o *operator) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_ = framework.Await(ctx, "the second installation refuses", func(context.Context) (string, bool, error) {
		return "", strings.Contains(o.log.String(), "nothing is sent through a server"), nil
	})
}

func twoInstallations(ctx context.Context, w *world) {
	w.counts(func() int { return 1 })
	o := w.install(ctx)
	w.refused(ctx, o)
	w.send(ctx, w.size/2)
	w.finished(ctx)
	lost := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Do: faultproxy.Drop})
	w.send(ctx, w.size/2)
	framework.Must(lost.Await(ctx, w.caught()))
	w.kill(w.leader)
	lost.Remove()
	w.finished(ctx)
}

func leaderPausedOtherLease(ctx context.Context, w *world) {
	w.whilePaused(ctx, func() { w.install(ctx) })
	w.sendUntilEnded(ctx, w.leader)
}

// ahead is how much the clock of the variant clock-ahead is fast.
const ahead = 75 * time.Second

func clockAhead(ctx context.Context, w *world) {
	due := time.Now().Add(ahead - 10*time.Second).Truncate(time.Second)
	w.deal = func(m *message) { m.notBefore = due }
	w.overtake(ctx, w.sendUnanswered(ctx, 0))
}

// variant builds the operator with a change that is not a mutant.
func (c *cluster) variant(ctx context.Context, name string) (binary string) {
	v := framework.MustGet(mutants.Variant(name))
	overlay := framework.MustGet(v.Overlay(framework.MustGet(framework.Root()), c.dir))
	binary, err := framework.Build(ctx, "teamtalk-operator", c.dir, "-overlay", overlay)
	framework.Mustf(err, "build the operator as %s", name)
	return binary
}

func (w *world) startVariant(ctx context.Context, name string) *operator {
	o := w.cluster.startOperatorAs(w.cluster.variant(ctx, name), leases)
	w.operators = append(w.operators, o)
	w.leading(ctx, o)
	return o
}
