package leadership

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is a clock that runs on while the process is stopped and while the
// machine sleeps; Go's own monotonic clock stands still with the latter.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Every Linux that Go runs on has it; without a clock the gate must close.
		return time.Duration(1<<63 - 1)
	}
	return time.Duration(ts.Nano())
}
