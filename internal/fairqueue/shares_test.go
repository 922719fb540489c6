// SPDX-License-Identifier: Apache-2.0

package fairqueue

import (
	"fmt"
	"testing"
)

// fill takes one after the other until no more fits, and returns how many did.
func (s *Shares) fill(f Flow) (n int) {
	for ; s.Fits(f, 1); n++ {
		s.Take(f, 1)
	}
	return n
}

func flowOf(tenant, name int) Flow { return Flow{fmt.Sprint(tenant), fmt.Sprint(name)} }

// TestShares: however many tenants, and flows of a tenant, have all that they can get, the next one gets something.
func TestShares(t *testing.T) {
	const limit = 10_000
	s := NewShares(limit, 4)
	if got, want := s.fill(flowOf(0, 0)), limit/21; got < want-2 || got > want+2 {
		t.Errorf("the first flow gets %d, want %d", got, want)
	}
	for name := 1; name < 20; name++ {
		if got := s.fill(flowOf(0, name)); got == 0 {
			t.Errorf("flow %d gets nothing", name)
		}
	}
	if s.Used() > limit/5 {
		t.Errorf("one tenant has %d", s.Used())
	}
	for tenant := 1; tenant < 20; tenant++ {
		if got := s.fill(flowOf(tenant, 0)); got < 5 {
			t.Errorf("tenant %d gets %d", tenant, got)
		}
	}
	if s.Used() > limit {
		t.Errorf("%d are taken", s.Used())
	}
}

// TestManyTenants: however many tenants have nothing, they do not exceed the limit together. Each has its turn when
// others return what they have.
func TestManyTenants(t *testing.T) {
	const limit, tenants, n = 63_000, 500, 1000
	var q Queue[int]
	s := NewShares(limit, 4)
	for tenant := range tenants {
		q.Push(flowOf(tenant, 0), tenant)
	}
	var running []int
	for served := 0; served < tenants; {
		tenant, ok := q.Next(func(tenant int) bool { return s.Fits(flowOf(tenant, 0), n) })
		if ok {
			s.Take(flowOf(tenant, 0), n)
			running = append(running, tenant)
		}
		if s.Used() > limit {
			t.Fatalf("%d are taken", s.Used())
		}
		switch {
		case ok:
			served++
		case len(running) == 0:
			t.Fatalf("%d tenants get nothing", tenants-served)
		default:
			s.Return(flowOf(running[0], 0), n)
			running = running[1:]
		}
	}
}

// TestSharesOfNothing: what is larger than any share fits where nothing is taken.
func TestSharesOfNothing(t *testing.T) {
	s := NewShares(100, 4)
	cases := []struct {
		flow Flow
		n    int
		want bool
	}{
		{flowOf(0, 0), 1000, true},
		{flowOf(1, 0), 1, false}, // nothing is left, though it has nothing
		{flowOf(0, 0), -950, true},
		{flowOf(1, 0), 51, false},
		{flowOf(1, 0), 49, true},
		{flowOf(1, 0), 1, false}, // it has more than its share now
		{flowOf(1, 1), 1, false}, // and so has its tenant
		{flowOf(2, 0), 1, true},
		{flowOf(2, 0), 1, false},
	}
	for _, tc := range cases {
		if got := tc.n < 0 || s.Fits(tc.flow, tc.n); got != tc.want {
			t.Errorf("%d for %v: %v", tc.n, tc.flow, got)
		}
		if tc.want {
			s.Take(tc.flow, tc.n)
		}
	}
	s.Return(flowOf(0, 0), 50)
	s.Return(flowOf(1, 0), 49)
	s.Return(flowOf(2, 0), 1)
	if s.Used() != 0 || len(s.flows)+len(s.tenants) != 0 {
		t.Errorf("left over: %v", s)
	}
	s.Take(flowOf(0, 0), 5)
	if !s.Fits(flowOf(0, 1), 10) || s.Fits(flowOf(0, 1), 20) {
		t.Error("a flow that has nothing may take what its tenant may have")
	}
}
