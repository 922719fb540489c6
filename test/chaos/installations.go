// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/chaos/mutants"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// otherLeases is the namespace of the Lease of a second installation.
const otherLeases = "other-leases"

// installationScenarios are about operators that no common Lease keeps apart, or no common clock.
func installationScenarios() []scenario {
	return takeovers([]scenario{
		{name: "clock-ahead", run: clockAhead, firstBuild: "clock-ahead",
			clause: "kill -9 of an operator whose clock is 90 s ahead, when it has sent messages before their sendAfter"},
	})
}

// ahead is how far the clock of the variant clock-ahead is.
const ahead = 90 * time.Second

func clockAhead(ctx context.Context, w *world) {
	due := time.Now().Add(ahead - 10*time.Second).Truncate(time.Second)
	w.deal = func(m *message) { m.notBefore = due }
	w.overtake(ctx, w.sendUnanswered(ctx, 0))
}

// variant builds the operator with a change that no mutation test is about.
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
