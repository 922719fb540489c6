// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// retryBound is for scenarios that wait for answers, ask stores and send again.
	retryBound = 3 * time.Minute
	// takeoverBound is how long a scenario may take in which a Lease expires. It covers 15 s for the Lease, 30 s for
	// db_proxy's patience, settle and lag, and the delay of a busy machine.
	takeoverBound = 4 * time.Minute
)

// scenario tests one clause of the promise.
type scenario struct {
	name string
	// clause describes the fault, and where it occurs.
	clause string
	// bound is how long the scenario may take in total. The default is retryBound.
	bound time.Duration
	// alone is set if it stops, starts or disconnects operators. Then it shares neither operator nor API server.
	alone bool
	// needsDev is set if only teamtalk-dev has what it needs.
	needsDev bool
	short    bool
	// reroutes is set if connections to the router end. The messages on them may be announced once more.
	reroutes bool
	// flags are additional flags of its operators.
	flags []string
	// firstBuild is the variant of the first operator, see mutants.Variant.
	firstBuild string
	run        func(ctx context.Context, w *world)
}

// scenarios returns all scenarios. The longest come first, so that all end at about the same time.
func scenarios() []scenario {
	all := slices.Concat(takeovers(killScenarios()), takeovers(lifetimeScenarios()), scheduleScenarios(), nameScenarios(),
		readPolicyScenarios(), escalationScenarios(), receiverScenarios(),
		leaderScenarios(), answerScenarios(), readScenarios(), routerScenarios(), apiScenarios(), objectScenarios(),
		editScenarios(), revisionScenarios(), contentScenarios(), keyScenarios(), tableScenarios(), identityScenarios(),
		rowScenarios(), installationScenarios(), gatewayScenarios(), addressScenarios(), groupScenarios())
	for i := range all {
		all[i].bound = cmp.Or(all[i].bound, retryBound)
	}
	slices.SortStableFunc(all, func(a, b scenario) int { return cmp.Compare(b.bound, a.bound) })
	return all
}

// takeovers are scenarios in which a Lease expires.
func takeovers(all []scenario) []scenario {
	for i := range all {
		all[i].bound, all[i].alone, all[i].reroutes = takeoverBound, true, true
	}
	return all
}

// choose returns the scenarios that are named, or all if none is named.
func choose(names string, short bool) ([]scenario, error) {
	all := scenarios()
	if names == "" {
		if short {
			all = slices.DeleteFunc(all, func(s scenario) bool { return !s.short })
		}
		return all, nil
	}
	var chosen []scenario
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("--scenario %s: no such scenario; see --list", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
