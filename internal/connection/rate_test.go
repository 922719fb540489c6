// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	cases := map[string]struct {
		perSecond, burst, messages int
		want                       time.Duration
	}{
		"no bound":                 {0, 0, 1000, 0},
		"a second's worth":         {10, 0, 10, 0},
		"beyond it":                {10, 0, 25, 1500 * time.Millisecond},
		"one at a time":            {10, 1, 11, time.Second},
		"a burst and what follows": {10, 20, 30, time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limiter, began := newLimiter(tc.perSecond, tc.burst), time.Now()
				for range tc.messages {
					if err := waitForRate(t.Context(), limiter); err != nil {
						t.Fatal(err)
					}
				}
				if got := time.Since(began); got.Round(time.Millisecond) != tc.want {
					t.Errorf("%d messages took %v, want %v", tc.messages, got, tc.want)
				}
			})
		})
	}
}

// TestPaceGivenUp: a wait that is canceled takes nothing from the others.
func TestPaceGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := newLimiter(1, 1)
		if err := waitForRate(t.Context(), limiter); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := waitForRate(ctx, limiter); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 500*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := waitForRate(t.Context(), limiter); err != nil || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
