// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/time/rate"
)

// newLimiter returns a limiter of messages per second. 0 means no limit. If burst is 0, it is perSecond.
func newLimiter(perSecond, burst int) *rate.Limiter {
	if perSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), cmp.Or(max(burst, 0), perSecond))
}

// waitForRate waits until a message may be sent. It does not fail early as Wait does: a deadline may be moved.
func waitForRate(ctx context.Context, limiter *rate.Limiter) error {
	r := limiter.Reserve()
	timer := time.NewTimer(r.Delay())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		r.Cancel()
	}
	return ctx.Err()
}
