// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the image has no time zones

	"github.com/netresearch/go-cron"
)

const (
	// searchYears is how far Next looks ahead: February 29 can be eight years away.
	searchYears = 9
	// maxShift is the longest change of a clock after which a tick in the skipped time is made up for, as in cron(8).
	// Samoa once skipped a day, which had no ticks.
	maxShift = 3 * time.Hour
)

// parser reads the expressions of CronJobs: five fields, or a macro such as @daily. If day of month and day of week
// are both restricted, they are alternatives.
var parser = cron.MustNewParser(
	cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.DowOrDom).
	WithMaxSearchYears(searchYears)

// Schedule is a cron schedule in a time zone. Its ticks are whole minutes.
//
// Where a clock is set forward, ticks in the skipped time are due at once when it is over, as one. Where a clock is
// set back, a time that comes twice has one tick, the first time. A schedule whose minute or hour begins with *
// follows the elapsed time instead. It has no ticks in skipped time, and ticks in both passes of repeated time.
type Schedule struct {
	// clock finds times of a clock that is never changed, in UTC.
	clock   *cron.SpecSchedule
	zone    *time.Location
	elapsed bool
}

// Parse reads a cron expression and the name of a time zone in the IANA database; "" is UTC. The error says what is
// wrong with which of them.
func Parse(expression, timeZone string) (*Schedule, error) {
	if timeZone == "Local" {
		return nil, errors.New(`timeZone "Local" is not a time zone of the IANA database: use a name such as Asia/Shanghai`)
	}
	zone, err := time.LoadLocation(timeZone)
	if err != nil {
		return nil, fmt.Errorf("timeZone %q is not in the IANA database: use a name such as Asia/Shanghai", timeZone)
	}
	if strings.Contains(expression, "TZ=") {
		return nil, errors.New("schedule has a time zone: set timeZone instead")
	}
	parsed, err := parser.Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("schedule %q is not a cron expression with five fields: %w", expression, err)
	}
	clock, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("schedule %q has no fixed times: use five fields such as \"*/15 * * * *\"", expression)
	}
	s := &Schedule{clock: clock, zone: zone, elapsed: followsElapsedTime(expression)}
	if s.clock.Next(time.Now().UTC()).IsZero() {
		return nil, fmt.Errorf("schedule %q is never due: no year has such a day", expression)
	}
	return s, nil
}

// followsElapsedTime reports whether the minute or the hour begins with *, as cron(8) has it.
func followsElapsedTime(expression string) bool {
	fields := strings.Fields(expression)
	if len(fields) == 1 {
		return fields[0] == "@hourly"
	}
	return strings.HasPrefix(fields[0], "*") || strings.HasPrefix(fields[1], "*")
}

// Next returns the first tick later than a time, or the zero time.
func (s *Schedule) Next(after time.Time) time.Time {
	for at := after.In(s.zone); ; {
		p := periodOf(at)
		tick, ok := s.nextIn(p, after)
		if ok || p.end.IsZero() {
			return tick
		}
		at, after = p.end, p.end.Add(-1)
	}
}

// nextIn returns the first tick of a period later than a time. It returns false if a later period may have one.
func (s *Schedule) nextIn(p period, after time.Time) (time.Time, bool) {
	next := s.clock.Next(p.clock(after))
	if repeated := p.clock(p.repeatedUntil); !s.elapsed && next.Before(repeated) {
		next = s.clock.Next(repeated.Add(-1))
	}
	if next.IsZero() {
		return time.Time{}, true
	}
	tick := p.instant(next)
	switch {
	case p.end.IsZero() || tick.Before(p.end):
		return tick, true
	case !s.elapsed && tick.Before(p.skippedUntil):
		return p.end, true
	}
	return time.Time{}, false
}

// Latest returns the last tick later than after and not later than until, or the zero time. The time that it takes does
// not depend on how many ticks lie between.
func (s *Schedule) Latest(after, until time.Time) time.Time {
	due := func(after time.Time) bool {
		next := s.Next(after)
		return !next.IsZero() && !next.After(until)
	}
	if !due(after) {
		return time.Time{}
	}
	for none := until; none.Sub(after) > time.Second; {
		if middle := after.Add(none.Sub(after) / 2); due(middle) {
			after = middle
		} else {
			none = middle
		}
	}
	return s.Next(after)
}

// period is a time in which the zone's offset from UTC does not change.
type period struct {
	offset time.Duration
	// end is when the offset changes. It is the zero time if it never does.
	end time.Time
	// The clock shows the times up to repeatedUntil for the second time. It would show the times from end to
	// skippedUntil, but for the change.
	repeatedUntil, skippedUntil time.Time
}

// periodOf returns the period of a time, which is in the zone.
func periodOf(t time.Time) period {
	begin, end := t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		end = t.Add(24 * time.Hour) // ZoneBounds is wrong for the last day of leap years after 2037
	}
	p := period{offset: offset(t), end: end}
	if !begin.IsZero() {
		p.repeatedUntil = begin.Add(max(0, offset(begin.Add(-1))-p.offset))
	}
	if shift := offset(end) - p.offset; !end.IsZero() && shift <= maxShift {
		p.skippedUntil = end.Add(shift)
	}
	return p
}

func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

// clock returns what a clock of the period shows, as a time in UTC. The zero time remains.
func (p period) clock(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Add(p.offset)
}

// instant is the inverse of clock.
func (p period) instant(clock time.Time) time.Time { return clock.Add(-p.offset) }
