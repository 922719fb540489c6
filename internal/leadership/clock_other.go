// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package leadership

import "time"

var started = time.Now()

// readClocks reads a clock that may stop while the machine is suspended. Only Linux is supported in production.
func readClocks() clocks {
	return clocks{boot: time.Since(started), wall: time.Duration(time.Now().UnixNano())}
}
