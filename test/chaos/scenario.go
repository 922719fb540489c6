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

// scenario is one clause of what is promised, put to the test.
type scenario struct {
	name string
	// clause says what goes wrong, and where.
	clause string
	// bound is how long it may take in all.
	bound time.Duration
	// alone: it stops, starts or cuts off operators, so that no other scenario can
	// share its operator and its API server.
	alone bool
	// needsDev: only teamtalk-dev can do what it needs.
	needsDev bool
	// short: it belongs to the short form.
	short bool
	// reroutes: connections to the router end in it, with operators or without, and
	// what was on them may be announced once more: which were heard, nobody can tell.
	reroutes bool
	run      func(ctx context.Context, w *world) error
}

// scenarios are all of them, longest first: so they end together.
func scenarios() []scenario {
	all := slices.Concat(killScenarios(), lifetimeScenarios(), leaderScenarios(), answerScenarios(), readScenarios(),
		routerScenarios(), apiScenarios(), objectScenarios(), contentScenarios(), keyScenarios())
	slices.SortStableFunc(all, func(a, b scenario) int { return cmp.Compare(b.bound, a.bound) })
	return all
}

// choose returns the scenarios that were asked for by name; all where none was.
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
			return nil, fmt.Errorf("--scenario %s: there is none of that name; see --list", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
