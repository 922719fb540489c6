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

// pass has a message of the tenant leave.
func (p *pacer) pass(ctx context.Context, tenant string) error {
	r := p.reservation(tenant, false)
	err := r.acquire(ctx)
	if err == nil && !r.take() {
		err = errors.New("the reserved token is not there")
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

// TestPaceTakenWhenLeaving: reservations take no tokens until the messages are written, and limit the burst of writes.
// One that is released has its place again when it is acquired again.
func TestPaceTakenWhenLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(10, 2)
		acquires := func(r *reservation) bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			return r.acquire(ctx) == nil
		}
		group, first, second := p.reservation("a", true), p.reservation("a", false), p.reservation("a", false)
		if !acquires(group) || !acquires(first) || acquires(second) {
			t.Error("want two reservations, of a burst of two")
		}
		group.release()
		first.release()
		if !acquires(second) || !first.take() || first.take() {
			t.Error("want a reservation, and one message that leaves without one")
		}
		second.release()
		if !group.take() || group.take() {
			t.Error("want the token that was released to be free")
		}
		third := p.reservation("a", false)
		began := time.Now()
		order := make(chan *reservation, 2)
		for _, r := range []*reservation{third, first} {
			go func() {
				if acquires(r) {
					order <- r
					r.take()
				}
			}()
			synctest.Wait()
		}
		if <-order != first || <-order != third || time.Since(began).Round(time.Millisecond) != 200*time.Millisecond {
			t.Errorf("the first message is not the first, or after %v", time.Since(began))
		}
	})
}

// TestPaceLate: a message that db_proxy takes at a moment without a free token leaves soon, however many others wait
// for tokens. The rate is kept.
func TestPaceLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond, groups = 10, 20
		p, began := newPacer(perSecond, 1), time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var left atomic.Int32
		var singles sync.WaitGroup
		for range 1000 {
			singles.Go(func() {
				if p.pass(ctx, "a") == nil {
					left.Add(1)
				}
			})
		}
		synctest.Wait()
		for range groups {
			r, tries := p.reservation("a", true), 0
			for taken := false; !taken && tries < 5; tries++ {
				if err := r.acquire(ctx); err != nil {
					t.Fatal(err)
				}
				r.release() // it waits for db_proxy
				time.Sleep(37 * time.Millisecond)
				taken = r.take()
			}
			if tries == 5 {
				t.Fatal("a message that db_proxy would have taken five times has not left")
			}
		}
		took := time.Since(began)
		cancel()
		singles.Wait()
		all := groups + int(left.Load())
		if most := int(took.Seconds()*perSecond) + 2; all > most || int(left.Load()) < groups {
			t.Errorf("%d messages in %v, %d of them beside those to groups", all, took, left.Load())
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
