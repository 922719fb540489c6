// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package leadership

import "time"

var started = time.Now()

// sinceBoot may stop while the machine is suspended. Only Linux is supported in production.
func sinceBoot() time.Duration { return time.Since(started) }
