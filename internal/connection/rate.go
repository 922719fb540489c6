package connection

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// pace bounds messages per second; nil does not.
type pace struct{ bucket *rate.Limiter }

// newPace returns a pace of perSecond messages on average, of which burst may
// leave at once (0: as many as in a second); nil where perSecond is 0.
func newPace(perSecond, burst int) *pace {
	if perSecond <= 0 {
		return nil
	}
	if burst <= 0 {
		burst = perSecond
	}
	return &pace{rate.NewLimiter(rate.Limit(perSecond), burst)}
}

// wait waits until a message may leave, or returns ctx's error. Unlike the
// bucket's own Wait it does not give up at once where ctx ends first: its caller
// has nothing better to do, and may get a later deadline meanwhile.
func (p *pace) wait(ctx context.Context) error {
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
