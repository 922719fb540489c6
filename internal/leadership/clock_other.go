//go:build !linux

package leadership

import "time"

var started = time.Now()

// sinceBoot runs on while the process is stopped. While the machine sleeps it may
// stand still: the operator is meant to run on Linux.
func sinceBoot() time.Duration { return time.Since(started) }
