// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestConnectionLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes atomic.Int32
		h := run(t, Options{OnChange: func() { changes.Add(1) }})
		server := <-h.peers
		first := h.sendAsync(t.Context(), message(2))
		ctx, cancel := context.WithCancel(t.Context())
		second := h.sendAsync(ctx, message(3))
		server.next()
		cancel()
		want(t, "second", <-second, 0, ErrNoAnswer, context.Canceled)
		_ = server.nc.Close()
		want(t, "first", <-first, 0, ErrConnectionLost)
		server = <-h.peers
		synctest.Wait()
		again := h.sendAsync(t.Context(), message(2))
		server.stored(server.next(), 5)
		want(t, "on the new connection", <-again, 5)
		// Up, down, up; and down at the end.
		if n := changes.Load(); n != 3 || h.Connected() != 1 {
			t.Errorf("told of %d changes, %d connections", n, h.Connected())
		}
		underway := h.sendAsync(t.Context(), message(2))
		h.stop()
		want(t, "at the end", <-underway, 0, ErrConnectionLost)
		want(t, "after the end", <-h.sendAsync(t.Context(), message(2)), 0, ErrNotSent, ErrNotConnected)
		if n, l := changes.Load(), h.opts.Limiter; n != 4 || l.used != 0 {
			t.Errorf("told of %d changes, %d slots held", n, l.used)
		}
	})
}

func TestDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes atomic.Int32
		h := run(t, Options{Connections: 2, OnChange: func() { changes.Add(1) }})
		a, b := <-h.peers, <-h.peers
		first, second := h.sendAsync(t.Context(), message(2)), h.sendAsync(t.Context(), message(3))
		// One each, as both had none; who has which is left to chance.
		onA, onB := a.next(), b.next()
		var m wire.IMMsgData
		if err := proto.Unmarshal(onA.Body, &m); err != nil {
			t.Fatal(err)
		}
		if m.GetToSessionId() == 3 {
			first, second = second, first
		}

		a.send(wire.CommandStopReceiving, 0, &wire.IMStopReceivePacket{Result: proto.Uint32(0)})
		synctest.Wait()
		if n := h.Connected(); n != 1 || changes.Load() != 3 {
			t.Errorf("%d connections, told of %d changes", n, changes.Load())
		}
		var more []<-chan result[uint32]
		for range 4 {
			more = append(more, h.sendAsync(t.Context(), message(4)))
			b.stored(b.next(), 7)
		}
		for _, r := range more {
			want(t, "on the other", <-r, 7)
		}
		pending(t, "first", first)
		a.stored(onA, 5)
		want(t, "on the draining one", <-first, 5)

		b.send(wire.CommandStopReceiving, 0, &wire.IMStopReceivePacket{Result: proto.Uint32(0)})
		synctest.Wait()
		want(t, "with both draining", <-h.sendAsync(t.Context(), message(4)), 0, ErrNotSent, ErrNotConnected)
		b.stored(onB, 6)
		want(t, "on the second draining one", <-second, 6)
		_, _ = a.nc.Close(), b.nc.Close()
		stopped := time.Now()
		<-h.peers
		<-h.peers
		if away := time.Since(stopped); away < 5*time.Second || away > 7*time.Second {
			t.Errorf("dialed again after %v", away)
		}
		synctest.Wait()
		if n := h.Connected(); n != 2 || changes.Load() != 6 {
			t.Errorf("%d connections, told of %d changes", n, changes.Load())
		}
		if n := len(a.requests); n != 0 {
			t.Errorf("%d requests reached the draining connection", n)
		}
		h.stop()
	})
}

func TestFewestOutstanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Connections: 4})
		var peers []*peer
		for range 4 {
			peers = append(peers, <-h.peers)
		}
		var results []<-chan result[uint32]
		for range 12 {
			results = append(results, h.sendAsync(t.Context(), message(2)))
		}
		for i, p := range peers {
			if n := len(p.requests); n != 3 {
				t.Errorf("connection %d got %d requests", i, n)
			}
		}
		// The one that answers is the one that gets more.
		for range 3 {
			peers[2].stored(peers[2].next(), 1)
		}
		for range 3 {
			results = append(results, h.sendAsync(t.Context(), message(2)))
		}
		synctest.Wait()
		if n := len(peers[2].requests); n != 3 {
			t.Errorf("the idle connection got %d requests", n)
		}
		h.stop()
		for _, r := range results {
			<-r
		}
	})
}

// TestInFlight: a server that counts what it has not answered yet.
func TestInFlight(t *testing.T) {
	group := Session{Type: wire.SessionType_SESSION_TYPE_GROUP, UserID: 1, ID: 5}
	single := Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: 1, ID: 5}
	requests := map[string]struct {
		request func(ctx context.Context, c *Client) error
		group   bool
		ends    bool // its connection, where it is not answered in time
	}{
		"users":        {request: func(ctx context.Context, c *Client) error { _, err := c.Users(ctx, 1, []uint32{2}); return err }},
		"send":         {ends: true, request: func(ctx context.Context, c *Client) error { _, err := c.Send(ctx, ctx, message(2)); return err }},
		"list":         {request: func(ctx context.Context, c *Client) error { _, err := c.List(ctx, single, 9); return err }},
		"by id":        {request: func(ctx context.Context, c *Client) error { _, err := c.ByID(ctx, single, []uint32{1}); return err }},
		"groups":       {group: true, ends: true, request: func(ctx context.Context, c *Client) error { _, err := c.Groups(ctx, 1, []uint32{2}); return err }},
		"group send":   {group: true, ends: true, request: func(ctx context.Context, c *Client) error { _, err := c.Send(ctx, ctx, groupMessage(2)); return err }},
		"group audio":  {group: true, ends: true, request: func(ctx context.Context, c *Client) error { _, err := c.Send(ctx, ctx, Message{Type: 18}); return err }},
		"group list":   {group: true, ends: true, request: func(ctx context.Context, c *Client) error { _, err := c.List(ctx, group, 9); return err }},
		"group by id":  {group: true, ends: true, request: func(ctx context.Context, c *Client) error { _, err := c.ByID(ctx, group, []uint32{1}); return err }},
		"single audio": {ends: true, request: func(ctx context.Context, c *Client) error { _, err := c.Send(ctx, ctx, Message{Type: 2}); return err }},
	}
	for name, tc := range requests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bound := defaultTotal
				if tc.group {
					bound = defaultGroup
				}
				// Two clients of one address share a limiter, and what the
				// callers give up on still counts.
				limiter := NewLimiter(defaultTotal, defaultGroup)
				a, b := run(t, Options{Connections: 3, Limiter: limiter}), run(t, Options{Limiter: limiter})
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for i := range 3 * bound {
					wg.Go(func() { _ = tc.request(ctx, []*Client{a.Client, b.Client}[i%2]) })
				}
				synctest.Wait()
				peers := []*peer{<-a.peers, <-a.peers, <-a.peers, <-b.peers}
				arrived := func() (n int) {
					for more := true; more; {
						select {
						case p := <-a.peers:
							peers = append(peers, p)
						case p := <-b.peers:
							peers = append(peers, p)
						default:
							more = false
						}
					}
					for _, p := range peers {
						n += len(p.requests)
					}
					return n
				}
				if n := arrived(); n != bound {
					t.Errorf("%d in flight, want %d", n, bound)
				}
				if tc.group {
					wg.Go(func() { _, _ = a.Send(ctx, ctx, message(3)) })
					synctest.Wait()
					if n := arrived(); n != bound+1 {
						t.Error("group requests hold a single one back")
					}
				}
				before := arrived()
				cancel()
				wg.Wait()
				ctx, cancel = context.WithTimeout(t.Context(), 9*time.Second)
				defer cancel()
				err := tc.request(ctx, a.Client)
				if !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) || arrived() != before {
					t.Errorf("beyond the bound: %v", err)
				}
				// After their timeout nothing more is expected of them.
				elapse(3 * time.Second)
				if n := arrived(); n != before || (len(peers) > 4) != tc.ends {
					t.Errorf("%d requests, want %d; %d connections", n, before, len(peers))
				}
				if tc.group {
					// db_proxy is busy with them even so.
					ctx, cancel = context.WithTimeout(t.Context(), 15*time.Second)
					defer cancel()
					if err := tc.request(ctx, a.Client); !errors.Is(err, ErrNotSent) {
						t.Errorf("right after the timeout: %v", err)
					}
					elapse(5 * time.Second)
				}
				ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				if err := tc.request(ctx, a.Client); !errors.Is(err, ErrNoAnswer) || arrived() != before+1 {
					t.Errorf("after the timeout: %v", err)
				}
				a.stop()
				b.stop()
				for _, p := range peers {
					_ = p.nc.Close()
				}
				// What touches a group keeps its slot from others that do until db_proxy has
				// answered something.
				if kept := limiter.usedGroup; limiter.used != 0 || tc.group != (kept > 0) {
					t.Errorf("%d and %d slots are still held", limiter.used, kept)
				}
				limiter.answered()
				if limiter.used != 0 || limiter.usedGroup != 0 {
					t.Errorf("%d and %d slots are still held once it has", limiter.used, limiter.usedGroup)
				}
			})
		})
	}
}

// TestAbandonedIsAnswered: an answer frees the slot of a request whose caller
// has gone.
func TestAbandonedIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Limiter: NewLimiter(1, 1)})
		server := <-h.peers
		ctx, cancel := context.WithCancel(t.Context())
		first := h.sendAsync(ctx, message(2))
		second := h.sendAsync(t.Context(), message(3))
		req := server.next()
		cancel()
		want(t, "first", <-first, 0, ErrNoAnswer, context.Canceled)
		pending(t, "second", second)
		server.stored(req, 5)
		server.stored(server.next(), 6)
		r := <-second
		want(t, "second", r, 6)
		if r.took != 0 || h.Unmatched() != 0 {
			t.Errorf("after %v, %d unmatched", r.took, h.Unmatched())
		}
		h.stop()
	})
}

// TestLimiterWaits: a request that waits for a slot does so under its own
// context only, and may find the connection gone after it.
func TestLimiterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Limiter: NewLimiter(1, 1)})
		server := <-h.peers
		first := h.sendAsync(t.Context(), message(2))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := <-h.sendAsync(ctx, message(3))
		want(t, "waiting", r, 0, ErrNotSent, context.DeadlineExceeded)
		if r.took != time.Second {
			t.Errorf("after %v", r.took)
		}
		second := h.sendAsync(t.Context(), message(4))
		h.cancel()
		want(t, "under way", <-first, 0, ErrConnectionLost)
		want(t, "waiting for a slot", <-second, 0, ErrNotSent, ErrNotConnected)
		h.stop()
		_ = server.nc.Close()
	})
}

// TestServerNeverReads: what may have been written in part is told from what
// was not, and nobody waits beyond their context or the write's deadline.
func TestServerNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := make(chan net.Conn, 10)
		h := run(t, Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			servers <- theirs
			return ours, nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		server := <-servers
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
		_ = server.Close()

		server = <-servers
		synctest.Wait()
		cut := h.sendAsync(t.Context(), message(2))
		if _, err := server.Read(make([]byte, 5)); err != nil {
			t.Error(err)
		}
		want(t, "cut off", <-cut, 0, ErrConnectionLost)
		_ = server.Close()
		h.stop()
	})
}

// TestTurnEndsBeforeTheWriter: a send whose time is over while db_proxy does not
// read leaves no more; one that the writer has taken is waited for.
func TestTurnEndsBeforeTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := make(chan net.Conn, 10)
		h := run(t, Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			servers <- theirs
			return ours, nil
		}})
		turn, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		send := func(to uint32) <-chan result[uint32] {
			return async(func() (uint32, error) { return h.Send(t.Context(), turn, message(to)) })
		}
		taken, waits := send(2), send(3)
		r := <-waits
		want(t, "waits for the writer", r, 0, ErrNotSent, context.DeadlineExceeded)
		if r.took != time.Second {
			t.Errorf("after %v", r.took)
		}
		pending(t, "taken", taken)
		elapse(4 * time.Second)
		server := newPeer(t, <-servers)
		server.stored(server.next(), 5)
		want(t, "taken", <-taken, 5)
		if n := len(server.requests); n != 0 {
			t.Errorf("%d requests came after their time", n)
		}
		h.stop()
		_ = server.nc.Close()
	})
}

// TestReconnects: a server with frames of bad length is left, and come back to.
func TestReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{})
		server := <-h.peers
		got := h.sendAsync(t.Context(), message(2))
		server.write(append([]byte{0, 0, 0, 15}, make([]byte, 12)...))
		want(t, "Send", <-got, 0, ErrConnectionLost)
		server = <-h.peers
		synctest.Wait()
		got = h.sendAsync(t.Context(), message(2))
		server.stored(server.next(), 3)
		want(t, "Send", <-got, 3)
		h.stop()
	})
}
