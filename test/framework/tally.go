// SPDX-License-Identifier: Apache-2.0

package framework

import "fmt"

// Tally counts the differences between a store and the declared messages.
type Tally struct {
	Missing, Duplicated, Unexpected int
	// NotAnnounced are messages in the store that were not announced to message servers.
	NotAnnounced int
}

// Add counts what must be in the store once, or not at all, and is there n times.
func (t *Tally) Add(declared bool, n int) {
	if !declared {
		t.Unexpected += n
		return
	}
	t.Missing += max(0, 1-n)
	t.Duplicated += max(0, n-1)
}

// Sum returns how many differences there are.
func (t *Tally) Sum() int { return t.Missing + t.Duplicated + t.Unexpected + t.NotAnnounced }

func (t *Tally) String() string {
	return fmt.Sprintf("%d missing, %d duplicated, %d unexpected, %d not announced",
		t.Missing, t.Duplicated, t.Unexpected, t.NotAnnounced)
}
