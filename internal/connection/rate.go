// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// rateLimit limits messages per second. A nil rateLimit does not.
type rateLimit struct{ bucket *rate.Limiter }

// newRateLimit returns nil if perSecond is 0. If burst is 0, it is perSecond.
func newRateLimit(perSecond, burst int) *rateLimit {
	if perSecond <= 0 {
		return nil
	}
	if burst <= 0 {
		burst = perSecond
	}
	return &rateLimit{rate.NewLimiter(rate.Limit(perSecond), burst)}
}

// wait waits until a message may be sent. Unlike rate.Limiter.Wait, it does not fail early if the deadline
// of ctx is too soon: the caller may extend the deadline.
func (p *rateLimit) wait(ctx context.Context) error {
	if p == nil {
		return ctx.Err()
	}
	r := p.bucket.Reserve()
	timer := time.NewTimer(r.Delay())
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		r.Cancel()
		return ctx.Err()
	}
}
