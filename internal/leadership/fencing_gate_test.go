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

// fakeLock is a Lease whose writes do what a test says.
type fakeLock struct {
	resourcelock.Interface
	write func() error
	read  func() (*resourcelock.LeaderElectionRecord, error)
}

func (f fakeLock) Identity() string { return "me" }
func (f fakeLock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	r, err := f.read()
	return r, nil, err
}
func (f fakeLock) Create(context.Context, resourcelock.LeaderElectionRecord) error {
	return f.write()
}
func (f fakeLock) Update(context.Context, resourcelock.LeaderElectionRecord) error {
	return f.write()
}

// TestFencingGate walks through a Lease's life: step after step, each at a time of its own.
func TestFencingGate(t *testing.T) {
	var now time.Duration
	var fails error
	var duringWrite func()
	gate := NewFencingGate(10 * time.Second)
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
	gate := NewFencingGate(10 * time.Second)
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
		"update": func(l *lock) error {
			return l.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"})
		},
		"create": func(l *lock) error {
			return l.Create(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"})
		},
		"release": func(l *lock) error { return l.Update(t.Context(), resourcelock.LeaderElectionRecord{}) },
	}
	for name, tc := range cases {
		for kind, write := range writes {
			t.Run(name+", "+kind, func(t *testing.T) {
				var now time.Duration
				written := 0
				gate := NewFencingGate(10 * time.Second)
				gate.now = func() time.Duration { return now }
				l := &lock{gate: gate, Interface: fakeLock{
					write: func() error { written++; return nil },
					read: func() (*resourcelock.LeaderElectionRecord, error) {
						return &resourcelock.LeaderElectionRecord{HolderIdentity: tc.holder}, tc.err
					},
				}}
				if !tc.standby {
					if err := l.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"}); err != nil {
						t.Fatal(err)
					}
					now += RenewInterval
				}
				before := written
				if _, _, err := l.Get(t.Context()); !errors.Is(err, tc.err) {
					t.Errorf("read: %v", err)
				}
				if open := gate.Open() == nil; open != (tc.wantWrite && !tc.standby) {
					t.Errorf("once read, the gate is open: %v", open)
				}
				err := write(l)
				if wrote := written > before; wrote != tc.wantWrite || wrote != (err == nil) || err != nil && !errors.Is(err, ErrNotHeld) {
					t.Errorf("written: %v, want %v: %v", wrote, tc.wantWrite, err)
				}
				if open := gate.Open() == nil; open != (tc.wantWrite && kind != "release") {
					t.Errorf("in the end, the gate is open: %v", open)
				}
			})
		}
	}
}

func TestClockRuns(t *testing.T) {
	before := sinceBoot()
	for sinceBoot() <= before {
	}
}
