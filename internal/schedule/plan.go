// SPDX-License-Identifier: Apache-2.0

package schedule

import "time"

// Plan holds the ticks of a schedule that are due at a time.
type Plan struct {
	// Due is the tick to act on, or the zero time.
	Due time.Time
	// FirstMissed and LastMissed are the ticks that are not acted on: a later one is due, or it is too late for them.
	// They are the zero time if there is none.
	FirstMissed, LastMissed time.Time
	// Next is the first tick later than now, or the zero time.
	Next time.Time
}

// Plan returns the ticks that are due. Ticks up to handled were acted on, or were missed. A tick is missed if it is
// older than the deadline. If the deadline is 0, there is none.
func (s *Schedule) Plan(handled, now time.Time, deadline time.Duration) Plan {
	p := Plan{Next: s.Next(now)}
	latest := s.Latest(handled, now)
	if latest.IsZero() {
		return p
	}
	missedUntil := latest
	if deadline == 0 || now.Sub(latest) <= deadline {
		p.Due, missedUntil = latest, latest.Add(-1)
	}
	if last := s.Latest(handled, missedUntil); !last.IsZero() {
		p.FirstMissed, p.LastMissed = s.Next(handled), last
	}
	return p
}
