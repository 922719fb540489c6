// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"time"

	"golang.org/x/sys/unix"
)

// readClocks reads both clocks. Unlike Go's monotonic clock, CLOCK_BOOTTIME advances while the machine is suspended.
func readClocks() clocks {
	return clocks{boot: readClock(unix.CLOCK_BOOTTIME), wall: readClock(unix.CLOCK_REALTIME)}
}

func readClock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		// Unreachable. Without a clock the gate must close.
		return time.Duration(1<<63 - 1)
	}
	return time.Duration(ts.Nano())
}
