// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// bar is the limit for a value.
type bar struct {
	limit float64
	// atLeast is set if the value must be at least the limit. Otherwise it must be at most the limit.
	atLeast bool
	// beyond names another figure of the same run, to which the limit is added.
	beyond string
}

// leaseSeconds is how long a lost leader keeps its Lease.
const leaseSeconds = 15

// bars of the figures that have one.
var bars = map[string]bar{
	"bulk_ratio":               {limit: 0.85, atLeast: true},
	"bulk_recorded_ratio":      {limit: 0.97, atLeast: true},
	"stream_ratio":             {limit: 0.95, atLeast: true},
	"gateway_direct_ratio":     {limit: 0.95, atLeast: true},
	"gateway_unverified_ratio": {limit: 0.9, atLeast: true},
	"gateway_record_ratio":     {limit: 0.6, atLeast: true},
	"fairness_ratio":           {limit: 2},
	"fairness_rate_ratio":      {limit: 2},
	"gateway_refusal_s":        {limit: 3},
	"writes_per_message":       {limit: 1},
	"requests_per_message":     {limit: 1.01},
	"failover_s":               {limit: leaseSeconds + 3},
	"recovery_s":               {limit: leaseSeconds + 43},
	"handover_s":               {limit: 2},
	"start_s_100k":             {limit: 2, beyond: "start_s_empty"},
	"start_s_300k":             {limit: 3, beyond: "start_s_empty"},
	"rss_mb_100k":              {limit: 20, beyond: "rss_mb_empty"},
	"rss_mb_300k":              {limit: 20, beyond: "rss_mb_empty"},
	"rss_mb_100k_ttl":          {limit: 200},
	"idle_requests_100k":       {limit: 0},
	"idle_cpu_ms_100k":         {limit: 50, beyond: "idle_cpu_ms_empty"},
	"order_violations":         {limit: 0},
	"reads_waiting_mb":         {limit: 20},
	"reads_taken_up_s":         {limit: 60},
	"reads_requests":           {limit: 300},
	"read_noise_cpu":           {limit: 3},
	"groups_race_ratio":        {limit: 2},
	"schedules_ratio":          {limit: 1.2},
}

// check describes the bar that a value misses, or returns "". Values are compared before rounding. What is not a
// number misses every bar, and so does a bar beyond a figure that was not measured.
func (b bar) check(v float64, measured map[string]float64) string {
	limit, formula := b.limit, ""
	if b.beyond != "" {
		other, ok := measured[b.beyond]
		if !ok {
			other = math.NaN()
		}
		limit += other
		formula = fmt.Sprintf(" (%s + %g)", b.beyond, b.limit)
	}
	switch {
	case b.atLeast && v >= limit, !b.atLeast && v <= limit:
		return ""
	case b.atLeast:
		return fmt.Sprintf("at least %.4g%s", limit, formula)
	}
	return fmt.Sprintf("at most %.4g%s", limit, formula)
}

// report collects the measured values.
type report struct{ values []value }

type value struct {
	name     string
	v        float64
	decimals int
}

// add reports a value, and prints it at once.
func (r *report) add(name string, v float64, decimals int) {
	r.values = append(r.values, value{name, v, decimals})
	say("  %s", r.values[len(r.values)-1])
}

func (v value) String() string { return fmt.Sprintf("%s=%.*f", v.name, v.decimals, v.v) }

func (r *report) print(w io.Writer) {
	for _, v := range r.values {
		fmt.Fprintln(w, v)
	}
}

// missed names the values that miss their bars. It is nil if none does.
func (r *report) missed() error {
	measured := map[string]float64{}
	for _, v := range r.values {
		measured[v.name] = v.v
	}
	var lines []string
	for _, v := range r.values {
		b, ok := bars[v.name]
		if !ok {
			continue
		}
		if want := b.check(v.v, measured); want != "" {
			lines = append(lines, fmt.Sprintf("%s, want %s", v, want))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return errors.New("missed: " + strings.Join(lines, "; "))
}

// median returns the middle one, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return math.NaN()
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// percentile returns the smallest value that more than p percent of all do not exceed: of 100, the 99th is the largest.
func percentile[T cmp.Ordered](values []T, p int) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

// perSecond is how many of n a duration makes in a second.
func perSecond(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

// milliseconds with their fraction.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// sample is what one round has measured, by name.
type sample map[string]float64

// column is a value of each round that is reported.
type column struct {
	name     string
	decimals int
}

// rounds returns all samples but that of the first round, in which conversations begin.
func (w *world) rounds(columns []column, measure func(round int, s sample)) []sample {
	var all []sample
	for round := range w.o.rounds + 1 {
		s := sample{}
		measure(round, s)
		var values []string
		for _, c := range columns {
			values = append(values, fmt.Sprint(value{c.name, s[c.name], c.decimals}))
		}
		say("  round %d: %s", round, strings.Join(values, " "))
		all = append(all, s)
	}
	return all[1:]
}

// addMedians reports the median of each column.
func (r *report) addMedians(samples []sample, columns []column) {
	for _, c := range columns {
		var values []float64
		for _, s := range samples {
			values = append(values, s[c.name])
		}
		r.add(c.name, median(values), c.decimals)
	}
}

// inTurn measures both sides of a ratio. They take turns at being first.
func inTurn(round int, sides ...func()) {
	for i := range sides {
		sides[(i+round)%len(sides)]()
	}
}
