// SPDX-License-Identifier: Apache-2.0

package dbproxy

import "time"

const (
	// lateFactor times the usual time is late. Factors from 2 to 8 were measured on two loaded cores, with
	// teamtalk-dev at 43 ms, one group message at a time and 400 other messages per second. None of 48,768 answers
	// was late with any of them. A request that a hung thread gets is late after 251 ms with 2, 260 ms with 3, 330 ms
	// with 6 and 440 ms with 8. Until then no other group message is sent.
	lateFactor = 3
	// minLate and maxLate bound it. A stock db_proxy takes about 45 ms for a group message, and flushes answers every
	// 10 ms. Five times that is more than jitter. firstLate applies before the first answer.
	minLate   = 250 * time.Millisecond
	firstLate = time.Second
	maxLate   = 5 * time.Second
)

// pace is how long a db_proxy usually takes. It is estimated as TCP estimates round trips (RFC 6298): a smoothed mean
// and a smoothed deviation. Four deviations cover what varies with load.
type pace struct{ mean, deviation time.Duration }

// observe adds the time of an answer.
func (p *pace) observe(took time.Duration) {
	took = max(took, 1) // 0 is no estimate
	if p.mean == 0 {
		p.mean, p.deviation = took, took/2
		return
	}
	p.deviation += ((took - p.mean).Abs() - p.deviation) / 4
	p.mean += (took - p.mean) / 8
}

// late returns after what time without an answer a request is late.
func (p pace) late() time.Duration {
	if p.mean == 0 {
		return firstLate
	}
	return min(max(lateFactor*(p.mean+4*p.deviation), minLate), maxLate)
}
