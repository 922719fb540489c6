package link

import (
	"sync"
	"time"
)

// DialBackoff keeps links from dialing a server that is about to exit. The zero value
// holds nothing back; it is safe for concurrent use.
type DialBackoff struct {
	mu    sync.Mutex
	until time.Time
}

// extend holds dials back for d from now on, at least.
func (h *DialBackoff) extend(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until := time.Now().Add(d); until.After(h.until) {
		h.until = until
	}
}

// remaining returns how long dials are still held back.
func (h *DialBackoff) remaining() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.until.IsZero() {
		return 0
	}
	return max(0, time.Until(h.until))
}
