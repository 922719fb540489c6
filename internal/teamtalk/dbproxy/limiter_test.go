// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slots are Acquires of a Limiter under the names of their goroutines.
type slots struct {
	t       *testing.T
	l       *Limiter
	mu      sync.Mutex
	held    []string
	release map[string]func()
	cancel  map[string]context.CancelFunc
	errs    map[string]error
}

func newSlots(t *testing.T, total, group int) *slots {
	return &slots{
		t: t, l: NewLimiter(total, group),
		release: map[string]func(){}, cancel: map[string]context.CancelFunc{}, errs: map[string]error{},
	}
}

// step executes a step: "+a" acquires a slot ("+g…" for a group request), "-a" releases it, "!a" cancels the wait,
// "=4/2" sets the limits.
func (s *slots) step(step string) {
	name := step[1:]
	switch step[0] {
	case '+':
		ctx, cancel := context.WithCancel(s.t.Context())
		s.cancel[name] = cancel
		go func() {
			release, err := s.l.Acquire(ctx, strings.HasPrefix(name, "g"))
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil {
				s.errs[name] = err
				return
			}
			s.held, s.release[name] = append(s.held, name), release
		}()
	case '-':
		s.mu.Lock()
		release := s.release[name]
		s.mu.Unlock()
		release()
		release() // a second time does nothing
	case '!':
		s.cancel[name]()
	case '=':
		var total, group int
		if _, err := fmt.Sscanf(name, "%d/%d", &total, &group); err != nil {
			s.t.Fatal(err)
		}
		s.l.SetLimits(total, group)
	}
	synctest.Wait()
}

func TestLimiter(t *testing.T) {
	cases := map[string]struct {
		total, group int
		steps        string
		want         string // the slots that were granted, in order
		wantErr      string // the waits that failed
	}{
		"up to the total":                         {total: 2, group: 2, steps: "+a +b +c", want: "a b"},
		"in order":                                {total: 1, group: 1, steps: "+a +b +c +d -a -b -c", want: "a b c d"},
		"groups count against the total":          {total: 2, group: 2, steps: "+g1 +g2 +a", want: "g1 g2"},
		"singles leave no group slot":             {total: 2, group: 1, steps: "+a +b +g1 -a", want: "a b g1"},
		"group bound":                             {total: 4, group: 1, steps: "+g1 +g2 +g3", want: "g1"},
		"group bound holds no single back":        {total: 3, group: 1, steps: "+g1 +g2 +a +b +c", want: "g1 a b"},
		"groups in order among themselves":        {total: 4, group: 1, steps: "+g1 +g2 +g3 -g1 -g2", want: "g1 g2 g3"},
		"a group that waited longest comes first": {total: 1, group: 1, steps: "+a +g1 +b -a -g1", want: "a g1 b"},
		"a single that waited longest comes first": {
			total: 1, group: 1, steps: "+a +b +g1 -a -b", want: "a b g1",
		},
		"a held-back group is not starved":     {total: 2, group: 1, steps: "+g1 +g2 +a +b +c -g1 -a -b", want: "g1 a g2 b c"},
		"a cancelled wait":                     {total: 1, group: 1, steps: "+a +b +c !b -a", want: "a c", wantErr: "b"},
		"a cancelled group wait":               {total: 3, group: 1, steps: "+g1 +g2 +g3 !g2 -g1", want: "g1 g3", wantErr: "g2"},
		"growing wakes those that wait":        {total: 1, group: 1, steps: "+a +b +g1 +g2 +c =2/1 =3/1 =4/1", want: "a b g1 c"},
		"growing the group bound":              {total: 9, group: 1, steps: "+g1 +g2 +g3 =9/2", want: "g1 g2"},
		"shrinking lets those that run finish": {total: 3, group: 3, steps: "+a +b +c =1/1 +d -a -b", want: "a b c"},
		"shrinking, all finished":              {total: 3, group: 3, steps: "+a +b +c =1/1 +d +e -a -b -c", want: "a b c d"},
		"shrinking the group bound":            {total: 4, group: 2, steps: "+g1 +g2 =4/1 +g3 -g1 +a", want: "g1 g2 a"},
		"bounds below one count as one":        {total: 0, group: -5, steps: "+g1 +a -g1", want: "g1 a"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlots(t, tc.total, tc.group)
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
	release, err := NewLimiter(1, 1).Acquire(ctx, false)
	if !errors.Is(err, context.Canceled) || release != nil {
		t.Errorf("got a slot, or %v", err)
	}
}

// TestLimiterConcurrently keeps the limits with many goroutines, cancelled waits and changed limits, and loses no slot.
func TestLimiterConcurrently(t *testing.T) {
	const total, group = 8, 3
	l := NewLimiter(total, group)
	var inFlight, inGroups atomic.Int32
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			isGroup := i%2 == 0
			for j := range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				if j%3 == 0 {
					wg.Go(cancel)
				}
				release, err := l.Acquire(ctx, isGroup)
				if err == nil {
					if n := inFlight.Add(1); n > total {
						t.Errorf("%d in flight", n)
					}
					if isGroup {
						if n := inGroups.Add(1); n > group {
							t.Errorf("%d groups in flight", n)
						}
						inGroups.Add(-1)
					}
					inFlight.Add(-1)
					release()
				}
				cancel()
				l.SetLimits(1+j%total, 1+j%group)
			}
		})
	}
	wg.Wait()
	l.SetLimits(total, group)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i := range total {
		if _, err := l.Acquire(ctx, i < group); err != nil {
			t.Fatalf("slot %d is lost: %v", i, err)
		}
	}
	waiting := l.waitingUsers.Len() + l.waitingGroups.Len()
	if waiting != 0 || l.used != total || l.usedGroup != group {
		t.Errorf("%d wait, %d and %d are used", waiting, l.used, l.usedGroup)
	}
}
