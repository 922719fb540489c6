// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Trigger decides for which of the events that a fault is about it happens.
type Trigger struct {
	// Skip is the number of events that pass first. Every selects each n-th of the others. Count ends the fault after it
	// has fired that often. With 0, none pass, all are selected, and it never ends.
	Skip, Every, Count int
	// Chance, if not nil, decides about each remaining event.
	Chance func() bool

	seen  int
	fired atomic.Int64
}

// Fire counts an event and reports whether the fault happens. Calls must not overlap.
func (t *Trigger) Fire() bool {
	if t.Count > 0 && t.Fired() >= t.Count {
		return false
	}
	t.seen++
	n := t.seen - t.Skip
	if n <= 0 || t.Every > 1 && n%t.Every != 0 || t.Chance != nil && !t.Chance() {
		return false
	}
	t.fired.Add(1)
	return true
}

// Fired is how often the fault has happened.
func (t *Trigger) Fired() int { return int(t.fired.Load()) }

// Rule is a fault of a proxy for some of its events, such as frames or requests.
type Rule[E, A any] struct {
	// Match chooses among the events.
	Match func(E) bool
	// Skip, Every and Count are those of a Trigger.
	Skip, Every, Count int
	// Do is the effect.
	Do A
}

// Rules are the rules of a proxy. They are safe for concurrent use.
type Rules[E, A any] struct {
	mu    sync.Mutex
	armed []*Armed[E, A]
}

// Armed is a rule at work.
type Armed[E, A any] struct {
	Trigger
	// Do is the rule's.
	Do    A
	match func(E) bool
	rules *Rules[E, A]
}

// Add puts a rule to work. Of several that take an event, the first one does.
func (r *Rules[E, A]) Add(rule Rule[E, A]) *Armed[E, A] {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &Armed[E, A]{Do: rule.Do, match: rule.Match, rules: r}
	a.Skip, a.Every, a.Count = rule.Skip, rule.Every, rule.Count
	r.armed = append(r.armed, a)
	return a
}

// First fires the first rule that matches an event, and returns it, or nil.
func (r *Rules[E, A]) First(event E) *Armed[E, A] {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.armed {
		if a.match(event) && a.Fire() {
			return a
		}
	}
	return nil
}

// Remove ends the rule. Events that it holds remain held.
func (a *Armed[E, A]) Remove() {
	a.rules.mu.Lock()
	defer a.rules.mu.Unlock()
	a.rules.armed = slices.DeleteFunc(a.rules.armed, func(other *Armed[E, A]) bool { return other == a })
}

// Await waits until the rule has fired n times.
func (a *Armed[E, A]) Await(ctx context.Context, n int) error {
	const pollInterval = 2 * time.Millisecond
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for a.Fired() < n {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("a fault has fired %d of %d times: %w", a.Fired(), n, context.Cause(ctx))
		}
	}
	return nil
}
