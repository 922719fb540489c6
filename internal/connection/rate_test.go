// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// pass waits for a turn of the tenant, and leaves.
func (p *pacer) pass(ctx context.Context, tenant string) error {
	turn := p.turn(tenant, false)
	err := turn.begin(ctx)
	if err == nil && !turn.leave() {
		err = errors.New("no token in its turn")
	}
	return err
}

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
			for _, together := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					p, began := newPacer(tc.perSecond, tc.burst), time.Now()
					var all sync.WaitGroup
					for range tc.messages {
						all.Go(func() {
							if err := p.pass(t.Context(), "a"); err != nil {
								t.Error(err)
							}
						})
						if !together {
							all.Wait()
						}
					}
					all.Wait()
					if got := time.Since(began); got.Round(time.Millisecond) != tc.want {
						t.Errorf("%d messages took %v, want %v; together: %v", tc.messages, got, tc.want, together)
					}
				})
			}
		})
	}
}

// TestPaceGivenUp: waits that are canceled take nothing from the others, however many they are.
func TestPaceGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(10, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 950*time.Millisecond)
		defer cancel()
		var bulk sync.WaitGroup
		var left, canceled atomic.Int32
		for range 1000 {
			bulk.Go(func() {
				switch err := p.pass(ctx, "bulk"); {
				case err == nil:
					left.Add(1)
				case errors.Is(err, context.DeadlineExceeded):
					canceled.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		bulk.Wait()
		if left.Load() != 10 || canceled.Load() != 990 {
			t.Errorf("%d left, %d were canceled", left.Load(), canceled.Load())
		}
		began := time.Now()
		if err := p.pass(t.Context(), "bulk"); err != nil || time.Since(began) > 100*time.Millisecond {
			t.Errorf("the next one after %v: %v", time.Since(began), err)
		}
	})
}

// TestPaceTurns: a tenant with one message waits for one of each other tenant at most, whatever these have waiting.
func TestPaceTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(10, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var bulk sync.WaitGroup
		for range 1000 {
			for _, tenant := range []string{"bulk", "more"} {
				bulk.Go(func() { _ = p.pass(ctx, tenant) })
			}
		}
		synctest.Wait()
		for range 20 {
			began := time.Now()
			if err := p.pass(t.Context(), "single"); err != nil || time.Since(began) > 301*time.Millisecond {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		}
		cancel()
		bulk.Wait()
	})
}

// TestPaceTakenWhenLeaving: turns that have begun take no token until the messages leave, and bound the burst with
// which these may leave. One that ends has its place again when it begins again.
func TestPaceTakenWhenLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(10, 2)
		begins := func(turn *turn) bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			return turn.begin(ctx) == nil
		}
		group, first, second := p.turn("a", true), p.turn("a", false), p.turn("a", false)
		if !begins(group) || !begins(first) || begins(second) {
			t.Error("want two turns that have begun, of a burst of two")
		}
		group.end()
		first.end()
		if !begins(second) || !first.leave() || first.leave() {
			t.Error("want a turn, and one message that leaves without one")
		}
		second.end()
		if !group.leave() || group.leave() {
			t.Error("want the token of the turn that has ended to be free")
		}
		third := p.turn("a", false)
		began := time.Now()
		order := make(chan *turn, 2)
		for _, turn := range []*turn{third, first} {
			go func() {
				if begins(turn) {
					order <- turn
					turn.leave()
				}
			}()
			synctest.Wait()
		}
		if <-order != first || <-order != third || time.Since(began).Round(time.Millisecond) != 200*time.Millisecond {
			t.Errorf("the first message is not the first, or after %v", time.Since(began))
		}
	})
}

// TestRateBesideHungDBProxy: messages that wait for a db_proxy that hangs leave the rate to those that another one
// takes, and their tokens are not taken before they leave.
func TestRateBesideHungDBProxy(t *testing.T) {
	hung, healthy := serve(t), serve(t)
	if _, err := hung.Faults().Add(devserver.Fault{Kind: devserver.Drop, Command: wire.CommandMsgData}); err != nil {
		t.Fatal(err)
	}
	h := start(t)
	h.shared.limits = dbproxy.NewLimits(1, 1)
	c := config(hung)
	c.DBProxy = append(c.DBProxy, healthy.DBProxyAddr())
	c.Rate, c.Burst = 1000, 2
	s := h.Ensure(name, c, keys(t))
	h.await("both are connected", func() bool { return s.Health().DBProxyConnected == s.Health().DBProxyDesired })
	const each = 10 // they go to both in turn
	var stored atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	var sends sync.WaitGroup
	for i := range 2 * each {
		sends.Go(func() {
			m := message(t, fmt.Sprint(i))
			if id, err := s.Send(ctx, ctx, m.Type, built(m), nil); err == nil && id != 0 {
				stored.Add(1)
			}
		})
	}
	h.await("the healthy one has stored its part", func() bool { return stored.Load() == each })
	cancel()
	sends.Wait()
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
	return s.Send(t.Context(), t.Context(), m.Type, built(m), nil)
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
		}, nil)
		result <- err
	}()
	h.await("the second to wait", func() bool { return s.inFlight.Load() == 1 })
	cancel()
	if err := <-result; !errors.Is(err, dbproxy.ErrNotSent) || early {
		t.Errorf("built before its turn: %v; %v", early, err)
	}
}
