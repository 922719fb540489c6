package leadership

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// fakeLock is a Lease whose writes do what a test says.
type fakeLock struct {
	resourcelock.Interface
	write func() error
}

func (f fakeLock) Identity() string { return "me" }
func (f fakeLock) Create(context.Context, resourcelock.LeaderElectionRecord) error {
	return f.write()
}
func (f fakeLock) Update(context.Context, resourcelock.LeaderElectionRecord) error {
	return f.write()
}

// TestGate walks through a Lease's life: step after step, each at a time of its own.
func TestGate(t *testing.T) {
	var now time.Duration
	var fails error
	var duringWrite func()
	gate := NewGate(10 * time.Second)
	gate.now = func() time.Duration { return now }
	l := &lock{gate: gate, Interface: fakeLock{write: func() error {
		if duringWrite != nil {
			duringWrite()
		}
		return fails
	}}}
	record := func(holder string) resourcelock.LeaderElectionRecord {
		return resourcelock.LeaderElectionRecord{HolderIdentity: holder}
	}
	steps := []struct {
		name     string
		at       time.Duration
		do       func()
		wantOpen bool
	}{
		{"before the election", 0, nil, false},
		{"elected", 100 * time.Second, func() { _ = l.Create(t.Context(), record("me")) }, true},
		{"just before it is too late", 110*time.Second - 1, nil, true},
		{"not renewed in time", 110 * time.Second, nil, false},
		{"renewed", 111 * time.Second, func() { _ = l.Update(t.Context(), record("me")) }, true},
		{"a renewal that fails", 119 * time.Second, func() {
			fails = errors.New("conflict")
			_ = l.Update(t.Context(), record("me"))
			fails = nil
		}, true},
		{"does not count", 121 * time.Second, nil, false},
		{"a slow renewal", 130 * time.Second, func() {
			duringWrite = func() { now += 9 * time.Second }
			_ = l.Update(t.Context(), record("me"))
			duringWrite = nil
		}, true},
		{"counts from its beginning", 140 * time.Second, nil, false},
		{"renewed again", 141 * time.Second, func() { _ = l.Update(t.Context(), record("me")) }, true},
		{"closed before it is released", 142 * time.Second, func() {
			duringWrite = func() {
				if gate.Open() == nil {
					t.Error("the gate is open while the Lease is released")
				}
			}
			_ = l.Update(t.Context(), record(""))
			duringWrite = nil
		}, false},
	}
	for _, step := range steps {
		now = step.at
		if step.do != nil {
			step.do()
		}
		if err := gate.Open(); (err == nil) != step.wantOpen || err != nil && !errors.Is(err, ErrGateClosed) {
			t.Errorf("%s: %v, want it open: %v", step.name, err, step.wantOpen)
		}
	}
}

// TestRenewals: however often the elector renews, the Lease is written every two
// seconds; at once after a failure; and always where it passes on.
func TestRenewals(t *testing.T) {
	var now time.Duration
	var writes []time.Duration
	fails := func() error { return nil }
	gate := NewGate(10 * time.Second)
	gate.now = func() time.Duration { return now }
	l := &lock{gate: gate, Interface: fakeLock{write: func() error {
		writes = append(writes, now)
		return fails()
	}}}
	update := func(holder string) {
		_ = l.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: holder})
	}
	for ; now < 6*time.Second; now += RetryPeriod {
		fails = func() error {
			if now == 2*time.Second || now == 2500*time.Millisecond {
				return errors.New("conflict")
			}
			return nil
		}
		update("me")
	}
	update("") // released
	update("me")
	const half = 500 * time.Millisecond
	want := []time.Duration{0, 4 * half, 5 * half, 6 * half, 10 * half, 12 * half, 12 * half}
	if !slices.Equal(writes, want) {
		t.Errorf("written at %v, want %v", writes, want)
	}
}

func TestClockRuns(t *testing.T) {
	before := sinceBoot()
	for sinceBoot() <= before {
	}
}
