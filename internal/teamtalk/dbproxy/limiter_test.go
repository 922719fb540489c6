// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// newShare returns a share that is connected to a db_proxy of its own.
func newShare(total, group int) *share { return NewLimits(total, group).connect("db", &Quota{}) }

// acquire waits for a slot of the share alone.
func (s *share) acquire(ctx context.Context, group bool) (*slot, error) {
	return s.limiter.limits.acquire(ctx, &waiter{shares: []*share{s}, group: group})
}

// slots are acquires of shares under the names of their goroutines.
type slots struct {
	t       *testing.T
	limits  *Limits
	shares  map[string]*share
	mu      sync.Mutex
	held    []string
	granted map[string]*slot
	cancel  map[string]context.CancelFunc
	errs    map[string]error
}

func newSlots(t *testing.T, total, group int, quotas map[string]*Quota) *slots {
	limits := NewLimits(total, group)
	s := &slots{
		t: t, limits: limits, shares: map[string]*share{"": limits.connect("db", &Quota{})},
		granted: map[string]*slot{}, cancel: map[string]context.CancelFunc{}, errs: map[string]error{},
	}
	for name, q := range quotas {
		s.shares[name] = limits.connect("db", q)
	}
	s.shares["there"] = limits.connect("another db", &Quota{Tenant: "a"})
	return s
}

// step executes a step: "+a" acquires a slot ("+g…" for a group request, "+a@s" of the share s), "-a" releases it, "!a"
// cancels the wait. A "+a@s@t" waits for either of two shares.
func (s *slots) step(step string) {
	name := step[1:]
	_, names, _ := strings.Cut(name, "@")
	var shares []*share
	for of := range strings.SplitSeq(names, "@") {
		shares = append(shares, s.shares[of])
	}
	switch step[0] {
	case '+':
		ctx, cancel := context.WithCancel(s.t.Context())
		s.cancel[name] = cancel
		go func() {
			slot, err := s.limits.acquire(ctx, &waiter{shares: shares, group: strings.HasPrefix(name, "g")})
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil {
				s.errs[name] = err
				return
			}
			s.held, s.granted[name] = append(s.held, name), slot
		}()
	case '-':
		s.mu.Lock()
		slot := s.granted[name]
		s.mu.Unlock()
		slot.release()
		slot.release() // a second time does nothing
	case '!':
		s.cancel[name]()
	}
	synctest.Wait()
}

func TestLimiter(t *testing.T) {
	servers := map[string]*Quota{
		"a": {Tenant: "a"}, "a2": {Tenant: "a"}, "b": {Tenant: "b"}, "c": {Tenant: "c"},
		"one": {Tenant: "one", MaxInFlight: 1, MaxGroupInFlight: 1}, "group": {Tenant: "group", MaxGroupInFlight: 1},
	}
	cases := map[string]struct {
		total, group int
		steps        string
		want         string // the slots that were granted, in order
		wantErr      string // the waits that failed
	}{
		"up to the total":                          {total: 2, group: 2, steps: "+a +b +c", want: "a b"},
		"in order":                                 {total: 1, group: 1, steps: "+a +b +c +d -a -b -c", want: "a b c d"},
		"groups count against the total":           {total: 2, group: 2, steps: "+g1 +g2 +a", want: "g1 g2"},
		"singles leave no group slot":              {total: 2, group: 1, steps: "+a +b +g1 -a", want: "a b g1"},
		"group bound":                              {total: 4, group: 1, steps: "+g1 +g2 +g3", want: "g1"},
		"group bound holds no single back":         {total: 3, group: 1, steps: "+g1 +g2 +a +b +c", want: "g1 a b"},
		"groups in order among themselves":         {total: 4, group: 1, steps: "+g1 +g2 +g3 -g1 -g2", want: "g1 g2 g3"},
		"groups and singles take turns":            {total: 1, group: 1, steps: "+a +g1 +b +g2 +c -a -g1 -b -g2", want: "a g1 b g2 c"},
		"a held-back group is not starved":         {total: 2, group: 1, steps: "+g1 +g2 +a +b +c -g1 -a -b", want: "g1 a g2 b c"},
		"a cancelled wait":                         {total: 1, group: 1, steps: "+a +b +c !b -a", want: "a c", wantErr: "b"},
		"a cancelled group wait":                   {total: 3, group: 1, steps: "+g1 +g2 +g3 !g2 -g1", want: "g1 g3", wantErr: "g2"},
		"bounds below one count as one":            {total: 0, group: -5, steps: "+g1 +a -g1", want: "g1 a"},
		"tenants take turns":                       {total: 1, group: 1, steps: "+0 +1@a +2@a +3@a +1@b +1@c -0 -1@a -1@b -1@c -2@a", want: "0 1@a 1@b 1@c 2@a 3@a"},
		"for groups as well":                       {total: 9, group: 1, steps: "+g0 +g1@a +g2@a +g3@a +g1@b -g0 -g1@a -g1@b -g2@a", want: "g0 g1@a g1@b g2@a g3@a"},
		"two servers of a tenant have one turn":    {total: 1, group: 1, steps: "+0@c +1@a +1@a2 +1@b +2@b -0@c -1@a -1@b -1@a2", want: "0@c 1@a 1@b 1@a2 2@b"},
		"an own bound":                             {total: 9, group: 9, steps: "+1@one +2@one +g3@one +1@b +2@b", want: "1@one 1@b 2@b"},
		"an own bound holds nobody else back":      {total: 3, group: 1, steps: "+1@one +2@one +1@b +2@b +3@b -1@b", want: "1@one 1@b 2@b 3@b"},
		"an own bound, released":                   {total: 9, group: 9, steps: "+1@one +2@one +3@one -1@one -2@one", want: "1@one 2@one 3@one"},
		"an own group bound":                       {total: 9, group: 9, steps: "+g1@group +g2@group +1@group +g1@b +g2@b", want: "g1@group 1@group g1@b g2@b"},
		"waiting groups take no slot of their own": {total: 9, group: 1, steps: "+g1@b +g1@one +1@one", want: "g1@b 1@one"},
		"either of two":                            {total: 1, group: 1, steps: "+0@a +1@a@there +2@a@there -0@a", want: "0@a 1@a@there 2@a@there"},
		"the first that is free":                   {total: 1, group: 1, steps: "+0@a +0@there +1@a@there -0@there", want: "0@a 0@there 1@a@there"},
		"groups, the first that is free":           {total: 9, group: 1, steps: "+g0@a +g0@there +g1@a@there -g0@there", want: "g0@a g0@there g1@a@there"},
		"one slot for a wait":                      {total: 1, group: 1, steps: "+0@a +0@there +1@a@there +2@a +2@there -0@there -0@a", want: "0@a 0@there 1@a@there 2@a"},
		"a cancelled wait for either":              {total: 1, group: 1, steps: "+0@a +0@there +1@a@there +2@a@there !1@a@there -0@a", want: "0@a 0@there 2@a@there", wantErr: "1@a@there"},
		"either, within an own bound":              {total: 9, group: 9, steps: "+1@one +2@one@there +3@one", want: "1@one 2@one@there"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlots(t, tc.total, tc.group, servers)
				for step := range strings.FieldsSeq(tc.steps) {
					s.step(step)
				}
				for name, cancel := range s.cancel {
					if (s.errs[name] != nil) != strings.Contains(" "+tc.wantErr+" ", " "+name+" ") {
						t.Errorf("%s: %v", name, s.errs[name])
					}
					defer cancel()
				}
				if got := strings.Join(s.held, " "); got != tc.want {
					t.Errorf("granted %s, want %s", got, tc.want)
				}
			})
		})
	}
}

func TestLimiterContextDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	slot, err := newShare(1, 1).acquire(ctx, false)
	if !errors.Is(err, context.Canceled) || slot != nil {
		t.Errorf("got a slot, or %v", err)
	}
}

// TestLimiterConcurrently keeps the limits with many goroutines, servers and cancelled waits, and loses no slot.
func TestLimiterConcurrently(t *testing.T) {
	const total, group = 8, 3
	limits := NewLimits(total, group)
	servers := []*Quota{{Tenant: "a"}, {Tenant: "a", MaxInFlight: 2, MaxGroupInFlight: 1}, {Tenant: "b", MaxInFlight: 5}}
	inFlight := map[string]*atomic.Int32{"db": {}, "db groups": {}, "another": {}, "another groups": {}}
	enter := func(what string, limit int32) {
		if n := inFlight[what].Add(1); n > limit {
			t.Errorf("%s: %d in flight", what, n)
		}
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			isGroup := i%2 == 0
			for j := range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				if j%3 == 0 {
					wg.Go(cancel)
				}
				s, other := limits.connect("db", servers[(i+j)%len(servers)]), limits.connect("another", servers[0])
				either := []*share{s, other}
				slot, err := limits.acquire(ctx, &waiter{shares: either[:1+i/2%2], group: isGroup})
				if err == nil {
					at := slot.share.limiter.address
					enter(at, total)
					if isGroup {
						enter(at+" groups", group)
						inFlight[at+" groups"].Add(-1)
					}
					inFlight[at].Add(-1)
					slot.release()
				}
				s.disconnect()
				other.disconnect()
				cancel()
			}
		})
	}
	wg.Wait()
	if n := len(limits.limiters); n != 0 {
		t.Errorf("%d db_proxies are remembered", n)
	}
	s := limits.connect("db", &Quota{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i := range total {
		if _, err := s.acquire(ctx, i < group); err != nil {
			t.Fatalf("slot %d is lost: %v", i, err)
		}
	}
	waiting := s.users.Len() + s.groups.Len()
	if waiting != 0 || s.limiter.used != total || s.limiter.usedGroup != group || s.used != total {
		t.Errorf("%d wait, %d and %d are used", waiting, s.limiter.used, s.limiter.usedGroup)
	}
}
