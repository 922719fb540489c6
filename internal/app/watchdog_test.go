// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	closed := errors.New("closed")
	tests := map[string]struct {
		// stuckAt is when the engine gets stuck, after the start; 0: never.
		stuckAt time.Duration
		elected bool
		gate    error
		after   time.Duration
		wantErr bool
	}{
		"a leader at work":              {elected: true, after: time.Hour},
		"a standby cannot send":         {gate: closed, after: time.Hour},
		"a leader that cannot, yet":     {elected: true, gate: closed, after: closedAfter - probeInterval},
		"a leader that cannot for long": {elected: true, gate: closed, after: closedAfter + 2*probeInterval, wantErr: true},
		"stuck for a moment":            {elected: true, stuckAt: time.Minute, after: time.Minute + stuckAfter - probeInterval},
		"stuck":                         {elected: true, stuckAt: time.Minute, after: time.Minute + stuckAfter + 2*probeInterval, wantErr: true},
		"a standby that is stuck":       {gate: closed, stuckAt: time.Minute, after: time.Hour, wantErr: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				elected := make(chan struct{})
				if tc.elected {
					close(elected)
				}
				free := make(chan struct{})
				began := time.Now()
				probe := func() {
					if tc.stuckAt > 0 && time.Since(began) >= tc.stuckAt {
						<-free
					}
				}
				w := newWatchdog(probe, elected, func() error { return tc.gate })
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- w.Start(ctx) }()
				time.Sleep(tc.after)
				if err := w.Check(nil); (err != nil) != tc.wantErr {
					t.Errorf("Check: %v, want an error: %v", err, tc.wantErr)
				}
				close(free)
				cancel()
				if err := <-ended; err != nil {
					t.Errorf("Start: %v", err)
				}
			})
		})
	}
}
