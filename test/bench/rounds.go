// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

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

// inTurn measures both sides of a ratio. Which begins changes from round to round.
func inTurn(round int, sides ...func()) {
	for i := range sides {
		sides[(i+round)%len(sides)]()
	}
}
