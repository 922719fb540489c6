// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// fakeLock is a Lease whose writes and reads do what a test says, at a time of its own.
type fakeLock struct {
	resourcelock.Interface
	now time.Duration
	// wallAhead is how far the wall clock has been set forward.
	wallAhead time.Duration
	write     func() error
	read      func() (*resourcelock.LeaderElectionRecord, error)
}

// newLock returns a lock on the Lease, with a gate.
func (f *fakeLock) newLock() *lock {
	gate := NewFencingGate(10 * time.Second)
	gate.now = func() clocks { return clocks{boot: f.now, wall: f.now + f.wallAhead} }
	return &lock{gate: gate, Interface: f}
}

func (f *fakeLock) Identity() string { return "me" }
func (f *fakeLock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	r, err := f.read()
	return r, nil, err
}
func (f *fakeLock) Create(context.Context, resourcelock.LeaderElectionRecord) error { return f.write() }
func (f *fakeLock) Update(context.Context, resourcelock.LeaderElectionRecord) error { return f.write() }

func heldBy(holder string) resourcelock.LeaderElectionRecord {
	return resourcelock.LeaderElectionRecord{HolderIdentity: holder}
}

// TestFencingGate walks through a Lease's life: step after step, each at a time of its own.
func TestFencingGate(t *testing.T) {
	f := &fakeLock{}
	l := f.newLock()
	// update writes the Lease, while something happens.
	update := func(holder string, while func() error) func() {
		return func() {
			f.write = while
			_ = l.Update(t.Context(), heldBy(holder))
		}
	}
	succeeds := func() error { return nil }
	steps := []struct {
		name     string
		at       time.Duration
		do       func()
		wantOpen bool
	}{
		{"before the election", 0, nil, false},
		{"elected", 100 * time.Second, func() {
			f.write = succeeds
			_ = l.Create(t.Context(), heldBy("me"))
		}, true},
		{"just before it is too late", 110*time.Second - 1, nil, true},
		{"not renewed in time", 110 * time.Second, nil, false},
		{"renewed", 109 * time.Second, update("me", succeeds), true},
		{"a renewal that fails", 117 * time.Second, update("me", func() error { return errors.New("conflict") }), true},
		{"does not count", 119 * time.Second, nil, false},
		{"a slow renewal", 118 * time.Second, update("me", func() error {
			f.now += 9 * time.Second
			return nil
		}), true},
		{"counts from its beginning", 128 * time.Second, nil, false},
		{"the wall clock is set back", 120 * time.Second, func() { f.wallAhead -= time.Hour }, true},
		{"which changes nothing", 128 * time.Second, nil, false},
		{"the wall clock is set forward", 120 * time.Second, func() { f.wallAhead += time.Hour + 8*time.Second }, false},
		{"and back", 120 * time.Second, func() { f.wallAhead -= 8 * time.Second }, true},
		{"renewed again", 121 * time.Second, update("me", succeeds), true},
		{"closed before it is released", 122 * time.Second, update("", func() error {
			if l.gate.Open() == nil {
				t.Error("the gate is open while the Lease is released")
			}
			return nil
		}), false},
	}
	for _, step := range steps {
		f.now = step.at
		if step.do != nil {
			step.do()
		}
		if err := l.gate.Open(); (err == nil) != step.wantOpen || err != nil && !errors.Is(err, ErrGateClosed) {
			t.Errorf("%s: %v, want it open: %v", step.name, err, step.wantOpen)
		}
	}
}

// TestRenewals: however often the elector renews, the Lease is written every two
// seconds; at once after a failure; and always where it passes on.
func TestRenewals(t *testing.T) {
	var writes []time.Duration
	f := &fakeLock{}
	f.write = func() error {
		writes = append(writes, f.now)
		if f.now == 2*time.Second || f.now == 2500*time.Millisecond {
			return errors.New("conflict")
		}
		return nil
	}
	l := f.newLock()
	for ; f.now < 6*time.Second; f.now += RetryPeriod {
		_ = l.Update(t.Context(), heldBy("me"))
	}
	_ = l.Update(t.Context(), heldBy("")) // released
	const half = 500 * time.Millisecond
	want := []time.Duration{0, 4 * half, 5 * half, 6 * half, 10 * half, 12 * half}
	if !slices.Equal(writes, want) {
		t.Errorf("written at %v, want %v", writes, want)
	}
}

// TestLedOnce: a process that was stopped past its Lease neither takes it again nor
// releases another's, whatever its elector, which has not noticed, makes of it.
func TestLedOnce(t *testing.T) {
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, "operator")
	cases := map[string]struct {
		standby   bool // not elected before
		holder    string
		err       error
		wantWrite bool
	}{
		"another's":               {holder: "other"},
		"released by another":     {holder: ""},
		"deleted":                 {err: gone},
		"still its own":           {holder: "me", wantWrite: true},
		"not known":               {err: errors.New("down"), wantWrite: true},
		"released, for a standby": {standby: true, holder: "", wantWrite: true},
		"deleted, for a standby":  {standby: true, err: gone, wantWrite: true},
		"expired, for a standby":  {standby: true, holder: "other", wantWrite: true},
	}
	writes := map[string]func(*lock) error{
		"update":  func(l *lock) error { return l.Update(t.Context(), heldBy("me")) },
		"create":  func(l *lock) error { return l.Create(t.Context(), heldBy("me")) },
		"release": func(l *lock) error { return l.Update(t.Context(), heldBy("")) },
	}
	for name, tc := range cases {
		for kind, write := range writes {
			t.Run(name+", "+kind, func(t *testing.T) {
				written := 0
				f := &fakeLock{
					write: func() error { written++; return nil },
					read: func() (*resourcelock.LeaderElectionRecord, error) {
						return new(heldBy(tc.holder)), tc.err
					},
				}
				l := f.newLock()
				if !tc.standby {
					if err := l.Update(t.Context(), heldBy("me")); err != nil {
						t.Fatal(err)
					}
					f.now += RenewInterval
				}
				before := written
				if _, _, err := l.Get(t.Context()); !errors.Is(err, tc.err) {
					t.Errorf("read: %v", err)
				}
				if open := l.gate.Open() == nil; open != (tc.wantWrite && !tc.standby) {
					t.Errorf("once read, the gate is open: %v", open)
				}
				err := write(l)
				if wrote := written > before; wrote != tc.wantWrite || wrote != (err == nil) || err != nil && !errors.Is(err, ErrNotHeld) {
					t.Errorf("written: %v, want %v: %v", wrote, tc.wantWrite, err)
				}
				if open := l.gate.Open() == nil; open != (tc.wantWrite && kind != "release") {
					t.Errorf("in the end, the gate is open: %v", open)
				}
			})
		}
	}
}

// TestLapsed: a process that has not renewed its Lease in time does not lead again, even if the Lease still names it.
func TestLapsed(t *testing.T) {
	tests := map[string]struct {
		boot, wall time.Duration
		wantLost   bool
	}{
		"in time":                                {boot: LeaseDuration - 1, wall: LeaseDuration - 1},
		"stopped for too long":                   {boot: LeaseDuration, wall: LeaseDuration, wantLost: true},
		"paused while one clock stands still":    {boot: 1, wall: LeaseDuration, wantLost: true},
		"in time, with a clock that is set back": {boot: LeaseDuration - 1, wall: -time.Hour},
		"stopped, with a clock that is set back": {boot: LeaseDuration, wall: -time.Hour, wantLost: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := &fakeLock{write: func() error { return nil }}
			l := f.newLock()
			update := func() error { return l.Update(t.Context(), heldBy("me")) }
			if err := update(); err != nil {
				t.Fatal(err)
			}
			f.now, f.wallAhead = tc.boot, tc.wall-tc.boot
			err := update()
			if lost := errors.Is(err, ErrNotHeld); lost != tc.wantLost || lost == (l.gate.Open() == nil) {
				t.Errorf("%v, want it lost: %v; the gate: %v", err, tc.wantLost, l.gate.Open())
			}
			f.now, f.wallAhead = RenewInterval, 0
			if err := update(); tc.wantLost && !errors.Is(err, ErrNotHeld) {
				t.Errorf("it leads again: %v", err)
			}
		})
	}
}

func TestClocksRun(t *testing.T) {
	before := readClocks()
	for now := readClocks(); now.boot <= before.boot || now.wall <= before.wall; now = readClocks() {
	}
}
