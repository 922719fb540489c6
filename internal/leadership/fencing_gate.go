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

// clocks are the times of two clocks. CLOCK_BOOTTIME cannot be set, but may stand still while a hypervisor pauses the
// machine. CLOCK_REALTIME shows such a pause once it is set again.
type clocks struct{ boot, wall time.Duration }

// FencingGate allows this process to send while it holds the Lease.
type FencingGate struct {
	renewDeadline time.Duration
	now           func() clocks

	mu      sync.Mutex
	held    bool
	renewed clocks
}

// NewFencingGate returns a closed gate. renewDeadline must be shorter than the duration of the Lease.
func NewFencingGate(renewDeadline time.Duration) *FencingGate {
	return &FencingGate{renewDeadline: renewDeadline, now: readClocks}
}

// Open returns nil while this process may send, and ErrGateClosed otherwise.
func (g *FencingGate) Open() error {
	if g.renewedWithin(g.renewDeadline) {
		return nil
	}
	return ErrGateClosed
}

// renew opens the gate after a write of the Lease that began at the time.
func (g *FencingGate) renew(began clocks) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held, g.renewed = true, began
}

// renewedWithin reports whether the Lease is held and was renewed within d, by both clocks. A wall clock that was set
// back does not count.
func (g *FencingGate) renewedWithin(d time.Duration) bool {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held && now.boot-g.renewed.boot < d && now.wall-g.renewed.wall < d
}

// close closes the gate until the next renewal.
func (g *FencingGate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = false
}
