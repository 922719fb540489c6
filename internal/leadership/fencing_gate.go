package leadership

import (
	"errors"
	"sync"
	"time"
)

var (
	// ErrGateClosed reports that this process may not send: it does not hold the
	// Lease, or has not renewed it for so long that another may.
	ErrGateClosed = errors.New("the Lease is not held")
	// ErrNotHeld reports that the Lease was found not to be this process's.
	ErrNotHeld = errors.New("the Lease is not this process's")
)

// FencingGate is asked before every write to a socket. Leader election alone is not
// enough: a process that was stopped past its Lease goes on, when it is
// continued, with whatever it was about to send.
type FencingGate struct {
	renewDeadline time.Duration
	now           func() time.Duration

	mu      sync.Mutex
	held    bool
	renewed time.Duration
}

// NewFencingGate returns a FencingGate that closes when the Lease has not been renewed for
// patience, which must be shorter than the Lease lasts.
func NewFencingGate(renewDeadline time.Duration) *FencingGate {
	return &FencingGate{renewDeadline: renewDeadline, now: sinceBoot}
}

// Open returns nil while this process may send, and ErrGateClosed otherwise.
func (g *FencingGate) Open() error {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.held || now-g.renewed >= g.renewDeadline {
		return ErrGateClosed
	}
	return nil
}

// renew notes that a write of the Lease that began at the time given has made
// this process its holder.
func (g *FencingGate) renew(began time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held, g.renewed = true, began
}

// renewedWithin reports whether the Lease is held and was renewed no longer ago.
func (g *FencingGate) renewedWithin(d time.Duration) bool {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held && now-g.renewed < d
}

// shut closes the gate until the next renewal.
func (g *FencingGate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = false
}
