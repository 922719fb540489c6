// SPDX-License-Identifier: Apache-2.0

package framework

import "slices"

// Cleanups ends what a program has started.
type Cleanups struct{ ends []func() }

// Cleanup has Stop call f, before what was registered earlier.
func (c *Cleanups) Cleanup(f func()) { c.ends = append(c.ends, f) }

// Stop calls the registered functions, the last one first.
func (c *Cleanups) Stop() {
	for _, end := range slices.Backward(c.ends) {
		end()
	}
	c.ends = nil
}
