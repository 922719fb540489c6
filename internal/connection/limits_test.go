// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// room counts the slots that the limiter has, all of them being free. It must
// run in a bubble, where waiting takes no time.
func room(t *testing.T, l *dbproxy.Limiter, group bool) int {
	t.Helper()
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		release, err := l.Acquire(ctx, group)
		cancel()
		if err != nil {
			return n
		}
		defer release()
	}
}

func TestLimits(t *testing.T) {
	a, b, c := &Session{}, &Session{}, &Session{}
	type claim struct {
		session      *Session
		address      string
		total, group int
	}
	cases := map[string]struct {
		claims               []claim
		released             []*Session
		wantTotal, wantGroup int // of address "x"
	}{
		"one":                        {claims: []claim{{a, "x", 6, 3}}, wantTotal: 6, wantGroup: 3},
		"the lowest counts":          {claims: []claim{{a, "x", 6, 3}, {b, "x", 4, 4}, {c, "x", 9, 2}}, wantTotal: 4, wantGroup: 2},
		"group within total":         {claims: []claim{{a, "x", 3, 9}}, wantTotal: 3, wantGroup: 3},
		"another address":            {claims: []claim{{a, "x", 6, 3}, {b, "y", 1, 1}}, wantTotal: 6, wantGroup: 3},
		"released":                   {claims: []claim{{a, "x", 6, 3}, {b, "x", 2, 1}}, released: []*Session{b}, wantTotal: 6, wantGroup: 3},
		"released, all addresses":    {claims: []claim{{a, "x", 6, 3}, {b, "y", 9, 9}, {b, "x", 2, 1}}, released: []*Session{b}, wantTotal: 6, wantGroup: 3},
		"released twice":             {claims: []claim{{a, "x", 6, 3}, {b, "x", 2, 1}}, released: []*Session{b, b, c}, wantTotal: 6, wantGroup: 3},
		"claimed again":              {claims: []claim{{a, "x", 6, 3}, {a, "x", 5, 2}}, wantTotal: 5, wantGroup: 2},
		"the lowest stays, released": {claims: []claim{{a, "x", 6, 3}, {b, "x", 2, 1}}, released: []*Session{a}, wantTotal: 2, wantGroup: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l limits
				limiters := map[string]*dbproxy.Limiter{}
				for _, c := range tc.claims {
					got := l.claim(c.session, c.address, c.total, c.group)
					if before, ok := limiters[c.address]; ok && before != got {
						t.Errorf("%s has two limiters", c.address)
					}
					limiters[c.address] = got
				}
				for _, s := range tc.released {
					l.release(s)
				}
				if total, group := room(t, limiters["x"], false), room(t, limiters["x"], true); total != tc.wantTotal || group != tc.wantGroup {
					t.Errorf("%d, %d of a group, want %d, %d", total, group, tc.wantTotal, tc.wantGroup)
				}
			})
		})
	}
}

// TestLimitsForget: an address that nobody names any more leaves nothing behind.
func TestLimitsForget(t *testing.T) {
	var l limits
	s := &Session{}
	l.claim(s, "x", 1, 1)
	l.claim(s, "y", 1, 1)
	l.release(s)
	if len(l.byAddress) != 0 {
		t.Errorf("%d addresses are kept", len(l.byAddress))
	}
}
