// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
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

// ids are those of scanned rows.
type ids []uint32

func (i *ids) Begin()                { *i = nil }
func (i *ids) Row(row *wire.MsgInfo) { *i = append(*i, row.GetMsgId()) }

// built is a message that is the same whenever it leaves.
func built(m dbproxy.Message) func() (dbproxy.Message, bool) {
	return func() (dbproxy.Message, bool) { return m, true }
}

func send(t *testing.T, s *Session, text string) (uint32, error) {
	m := message(t, text)
	return s.Send(t.Context(), t.Context(), m.Type, built(m))
}

// TestBuiltInItsTurn: what the rate holds back is neither encrypted nor dated yet.
func TestBuiltInItsTurn(t *testing.T) {
	server, h := serve(t), start(t)
	c := config(server)
	c.Rate, c.Burst = 1, 1
	s := h.Ensure(name, c, keys(t))
	h.ready(s)
	if id, err := send(t, s, "first"); err != nil || id == 0 {
		t.Fatalf("id %d: %v", id, err)
	}
	queue, cancel := context.WithCancel(t.Context())
	m, early := message(t, "second"), false
	result := make(chan error, 1)
	go func() {
		_, err := s.Send(t.Context(), queue, m.Type, func() (dbproxy.Message, bool) {
			early = true
			return m, true
		})
		result <- err
	}()
	h.await("the second to wait", func() bool { return s.inFlight.Load() == 1 })
	cancel()
	if err := <-result; !errors.Is(err, dbproxy.ErrNotSent) || early {
		t.Errorf("built before its turn: %v; %v", early, err)
	}
}
