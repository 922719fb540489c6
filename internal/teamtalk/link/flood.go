// SPDX-License-Identifier: Apache-2.0

package link

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	// floodTime is how long a peer may send more than is read. A server that relays much after a pause is slowed down
	// for less.
	floodTime = 10 * time.Second
	// floodPart is the part of the limiter's rate over floodTime that counts as a flood, if reads were delayed for half of
	// the time. Links that share a limiter delay each other, and several of them may flood.
	floodPart = 16
)

// flood counts the unrequested data of a peer.
type flood struct {
	limiter *rate.Limiter // nil: there is no limit
	// began is when cost began to be counted, and throttled how long reads had been delayed by then.
	began     time.Time
	throttled time.Duration
	cost      int
}

// exceeds adds what a frame costs, and reports whether the peer floods. throttled is how long all reads were delayed.
func (f *flood) exceeds(cost int, throttled time.Duration) bool {
	if f.limiter == nil {
		return false
	}
	f.cost += cost
	now := time.Now()
	if now.Sub(f.began) < floodTime {
		return false
	}
	most := float64(f.limiter.Limit()) * floodTime.Seconds() / floodPart
	exceeds := float64(f.cost) >= most && throttled-f.throttled >= floodTime/2
	*f = flood{limiter: f.limiter, began: now, throttled: throttled}
	return exceeds
}
