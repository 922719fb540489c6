// SPDX-License-Identifier: Apache-2.0

package link

import (
	"sync"
	"time"
)

// DialBackoff delays dials to a server that is about to exit. The zero value delays nothing. It is safe for
// concurrent use.
type DialBackoff struct {
	mu    sync.Mutex
	until time.Time
}

// extend delays dials for at least d from now.
func (b *DialBackoff) extend(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until := time.Now().Add(d); until.After(b.until) {
		b.until = until
	}
}

// remaining returns the remaining delay.
func (b *DialBackoff) remaining() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return 0
	}
	return max(0, time.Until(b.until))
}
