// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is a clock that, unlike Go's monotonic clock, advances while the machine is suspended.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Unreachable. Without a clock the gate must close.
		return time.Duration(1<<63 - 1)
	}
	return time.Duration(ts.Nano())
}
