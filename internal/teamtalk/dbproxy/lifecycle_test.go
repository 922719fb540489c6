// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

func TestConnectionLost(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
		first := h.sendAsync(t.Context(), message(2))
		ctx, cancel := context.WithCancel(t.Context())
		second := h.sendAsync(ctx, message(3))
		server.Next()
		cancel()
		want(t, "second", <-second, 0, ErrNoAnswer, context.Canceled)
		_ = server.Close()
		want(t, "first", <-first, 0, ErrConnectionLost)
		server = <-h.Conns
		synctest.Wait()
		again := h.sendAsync(t.Context(), message(2))
		answerStored(t, server, server.Next(), 5)
		want(t, "on the new connection", <-again, 5)
		// Up, down, up; and down at the end.
		h.wantState(t, 1, 3)
		underway := h.sendAsync(t.Context(), message(2))
		h.stop()
		want(t, "at the end", <-underway, 0, ErrConnectionLost)
		want(t, "after the end", <-h.sendAsync(t.Context(), message(2)), 0, ErrNotSent, ErrNotConnected)
		h.wantState(t, 0, 4)
		wantSlots(t, h.limiter(), 0, 0)
	})
}

func TestDraining(t *testing.T) {
	bubble(t, Options{Connections: 2}, func(t *testing.T, h *harness, a *peer.Conn) {
		b := <-h.Conns
		first, second := h.sendAsync(t.Context(), message(2)), h.sendAsync(t.Context(), message(3))
		// One on each connection, in random order.
		onA, onB := a.Next(), b.Next()
		var m wire.IMMsgData
		if err := proto.Unmarshal(onA.Body, &m); err != nil {
			t.Fatal(err)
		}
		if m.GetToSessionId() == 3 {
			first, second = second, first
		}

		a.Send(wire.CommandStopReceiving, 0, &wire.IMStopReceivePacket{Result: proto.Uint32(0)})
		h.wantState(t, 1, 3)
		for range 4 {
			other := h.sendAsync(t.Context(), message(4))
			answerStored(t, b, b.Next(), 7)
			want(t, "on the other", <-other, 7)
		}
		pending(t, "first", first)
		answerStored(t, a, onA, 5)
		want(t, "on the draining one", <-first, 5)

		b.Send(wire.CommandStopReceiving, 0, &wire.IMStopReceivePacket{Result: proto.Uint32(0)})
		synctest.Wait()
		want(t, "with both draining", <-h.sendAsync(t.Context(), message(4)), 0, ErrNotSent, ErrNotConnected)
		answerStored(t, b, onB, 6)
		want(t, "on the second draining one", <-second, 6)
		_, _ = a.Close(), b.Close()
		stopped := time.Now()
		<-h.Conns
		<-h.Conns
		if away := time.Since(stopped); away < 5*time.Second || away > 7*time.Second {
			t.Errorf("dialed again after %v", away)
		}
		h.wantState(t, 2, 6)
		if n := len(a.Requests); n != 0 {
			t.Errorf("%d requests reached the draining connection", n)
		}
	})
}

func TestFewestOutstanding(t *testing.T) {
	bubble(t, Options{Connections: 4}, func(t *testing.T, h *harness, first *peer.Conn) {
		servers := []*peer.Conn{first, <-h.Conns, <-h.Conns, <-h.Conns}
		send := func(n int) {
			for range n {
				h.sendAsync(t.Context(), message(2))
			}
		}
		send(12)
		for i, server := range servers {
			if n := len(server.Requests); n != 3 {
				t.Errorf("connection %d got %d requests", i, n)
			}
		}
		// The connection with answers gets more.
		for range 3 {
			answerStored(t, first, first.Next(), 1)
		}
		send(3)
		if n := len(first.Requests); n != 3 {
			t.Errorf("the idle connection got %d requests", n)
		}
	})
}

// TestInFlight counts the requests at a server that answers none.
func TestInFlight(t *testing.T) {
	for name, request := range requests {
		group := strings.HasPrefix(name, "group")
		// The requests that end their connection if they are not answered in time.
		ends := group || name == "send" || name == "single audio"
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const maxTotal, maxGroup = 64, 8
				bound := maxTotal
				if group {
					bound = maxGroup
				}
				// Two clients of one address share a limiter, and abandoned requests still count.
				limits := NewLimits(maxTotal, maxGroup)
				a, b := run(t, Options{Connections: 3, Limits: limits}), run(t, Options{Limits: limits})
				limiter := a.limiter()
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for i := range 3 * bound {
					wg.Go(func() { _ = request(ctx, []*Client{a.Client, b.Client}[i%2]) })
				}
				var servers []*peer.Conn
				arrived := func() (n int) {
					synctest.Wait()
					for _, h := range []*harness{a, b} {
						for len(h.Conns) > 0 {
							servers = append(servers, <-h.Conns)
						}
					}
					for _, server := range servers {
						n += len(server.Requests)
					}
					return n
				}
				wantArrived := func(what string, want int) {
					t.Helper()
					if n := arrived(); n != want {
						t.Errorf("%s: %d requests, want %d", what, n, want)
					}
				}
				wantArrived("in flight", bound)
				before := bound
				if group {
					before++
					wg.Go(func() { _, _ = a.Send(ctx, ctx, message(3)) })
					wantArrived("a single one besides", before)
				}
				cancel()
				wg.Wait()
				within := func(d time.Duration) error {
					ctx, cancel := context.WithTimeout(t.Context(), d)
					defer cancel()
					return request(ctx, a.Client)
				}
				peer.WantErr(t, "over the limit", within(9*time.Second), ErrNotSent, context.DeadlineExceeded)
				wantArrived("over the limit", before)
				// After their timeout they do not count any more.
				peer.Elapse(3 * time.Second)
				wantArrived("after the timeout", before)
				if (len(servers) > 4) != ends {
					t.Errorf("%d connections", len(servers))
				}
				if group {
					// db_proxy may still be busy with them.
					peer.WantErr(t, "right after the timeout", within(15*time.Second), ErrNotSent)
					peer.Elapse(5 * time.Second)
				}
				peer.WantErr(t, "after the timeout", within(3*time.Second), ErrNoAnswer)
				wantArrived("after the timeout", before+1)
				a.stop()
				b.stop()
				// A request about a group keeps its slot from others about groups until db_proxy has
				// answered one.
				if kept := limiter.usedGroup; limiter.used != 0 || group != (kept > 0) {
					t.Errorf("%d and %d slots are still held", limiter.used, kept)
				}
				answerGroup(&share{limiter: limiter})
				wantSlots(t, limiter, 0, 0)
			})
		})
	}
}

// TestAbandonedIsAnswered: an answer releases the slot of an abandoned request.
func TestAbandonedIsAnswered(t *testing.T) {
	bubble(t, Options{Limits: NewLimits(1, 1)}, func(t *testing.T, h *harness, server *peer.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		first := h.sendAsync(ctx, message(2))
		second := h.sendAsync(t.Context(), message(3))
		req := server.Next()
		cancel()
		want(t, "first", <-first, 0, ErrNoAnswer, context.Canceled)
		pending(t, "second", second)
		answerStored(t, server, req, 5)
		answerStored(t, server, server.Next(), 6)
		r := <-second
		want(t, "second", r, 6)
		wantAfter(t, "second", r, 0)
	})
}

// TestLimiterWaits: a request waits for a slot until its context is done. The connection may have ended then.
func TestLimiterWaits(t *testing.T) {
	bubble(t, Options{Limits: NewLimits(1, 1)}, func(t *testing.T, h *harness, server *peer.Conn) {
		first := h.sendAsync(t.Context(), message(2))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := <-h.sendAsync(ctx, message(3))
		want(t, "waiting", r, 0, ErrNotSent, context.DeadlineExceeded)
		wantAfter(t, "waiting", r, time.Second)
		second := h.sendAsync(t.Context(), message(4))
		h.stop()
		want(t, "under way", <-first, 0, ErrConnectionLost)
		want(t, "waiting for a slot", <-second, 0, ErrNotSent)
	})
}

// TestServerNeverReads distinguishes requests that may have been written in part from those that were not. No request
// waits longer than its context or the deadline of the write.
func TestServerNeverReads(t *testing.T) {
	rawBubble(t, func(t *testing.T, h *harness, server *peer.Conn) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := h.sendAsync(ctx, message(2))
		if _, err := server.Read(make([]byte, 5)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		queued := h.sendAsync(ctx, message(3))
		patient := h.sendAsync(t.Context(), message(4))
		want(t, "begun", <-begun, 0, ErrNoAnswer, context.DeadlineExceeded)
		want(t, "queued", <-queued, 0, ErrNotSent, context.DeadlineExceeded)
		r := <-patient
		want(t, "patient", r, 0, ErrNotSent, link.ErrClosed)
		if r.took > 10*time.Second {
			t.Errorf("after %v", r.took)
		}

		server = <-h.Conns
		synctest.Wait()
		cut := h.sendAsync(t.Context(), message(2))
		if _, err := server.Read(make([]byte, 5)); err != nil {
			t.Error(err)
		}
		_ = server.Close()
		want(t, "cut off", <-cut, 0, ErrConnectionLost)
	})
}

// TestQueueEndsBeforeTheWriter: a send whose time in the queue is over while db_proxy does not read is not
// sent. One that the writer has taken is waited for.
func TestQueueEndsBeforeTheWriter(t *testing.T) {
	rawBubble(t, func(t *testing.T, h *harness, server *peer.Conn) {
		turn, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		send := func(to uint32) <-chan result[uint32] {
			return async(func() (uint32, error) { return h.Send(t.Context(), turn, message(to)) })
		}
		taken, waits := send(2), send(3)
		r := <-waits
		want(t, "waits for the writer", r, 0, ErrNotSent, context.DeadlineExceeded)
		wantAfter(t, "waits for the writer", r, time.Second)
		pending(t, "taken", taken)
		peer.Elapse(4 * time.Second)
		server.Serve()
		answerStored(t, server, server.Next(), 5)
		want(t, "taken", <-taken, 5)
		if n := len(server.Requests); n != 0 {
			t.Errorf("%d requests arrived after their time", n)
		}
	})
}

// TestSendLatest builds a message when it has a slot. One that is not needed any more passes the slot on.
func TestSendLatest(t *testing.T) {
	bubble(t, Options{Connections: 1, Limits: NewLimits(1, 1)}, func(t *testing.T, h *harness, server *peer.Conn) {
		first := h.sendAsync(t.Context(), message(2))
		builds := 0
		latest := func(there bool) <-chan result[uint32] {
			m := message(3)
			return async(func() (uint32, error) {
				return h.SendLatest(t.Context(), t.Context(), m.Type, Sending{Build: func() (Message, bool) {
					builds++
					return m, there
				}})
			})
		}
		none, second := latest(false), latest(true)
		req := server.Next()
		if builds != 0 {
			t.Error("built before its turn")
		}
		answerStored(t, server, req, 5)
		want(t, "first", <-first, 5)
		want(t, "none", <-none, 0, ErrNotSent)
		answerStored(t, server, server.Next(), 6)
		want(t, "second", <-second, 6)
		if builds != 2 {
			t.Errorf("built %d times, want each once", builds)
		}
	})
}
