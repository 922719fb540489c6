// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"errors"
	"sync"
	"time"
)

var (
	// ErrGateClosed reports that this process may not send: it does not hold the Lease, or renewed it too late.
	ErrGateClosed = errors.New("the Lease is not held")
	// ErrNotHeld reports that another process holds the Lease.
	ErrNotHeld = errors.New("this process does not hold the Lease")
)

// FencingGate allows this process to send while it holds the Lease.
type FencingGate struct {
	renewDeadline time.Duration
	now           func() time.Duration

	mu      sync.Mutex
	held    bool
	renewed time.Duration
}

// NewFencingGate returns a closed gate. renewDeadline must be shorter than the duration of the Lease.
func NewFencingGate(renewDeadline time.Duration) *FencingGate {
	return &FencingGate{renewDeadline: renewDeadline, now: sinceBoot}
}

// Open returns nil while this process may send, and ErrGateClosed otherwise.
func (g *FencingGate) Open() error {
	if g.renewedWithin(g.renewDeadline) {
		return nil
	}
	return ErrGateClosed
}

// renew opens the gate after a write of the Lease that began at the time.
func (g *FencingGate) renew(began time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held, g.renewed = true, began
}

// renewedWithin reports whether the Lease is held and was renewed within d.
func (g *FencingGate) renewedWithin(d time.Duration) bool {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held && now-g.renewed < d
}

// close closes the gate until the next renewal.
func (g *FencingGate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = false
}
