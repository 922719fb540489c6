// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

var errGate = errors.New("gate closed")

// countingConn counts the writes that carry anything but a heartbeat.
type countingConn struct {
	net.Conn
	writes *atomic.Int32
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func TestSendCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writes atomic.Int32
		l := peer.Listen(t)
		l.Raw = true
		h := run(t, l, Options{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := l.Dial(ctx, network, address)
			return countingConn{nc, &writes}, err
		}})
		c, server := <-h.up, <-h.Conns
		const frames = 100
		var outcomes []<-chan error
		for i := range frames {
			outcomes = append(outcomes, send(t.Context(), c, frame(wire.CommandMsgData, uint16(i))))
		}
		server.Serve()
		for i, outcome := range outcomes {
			wantSend(t, "Send", <-outcome)
			if p := server.Next(); p.Seq != uint16(i) {
				t.Fatalf("frame %d arrived as number %d", p.Seq, i)
			}
		}
		if n := writes.Load(); n != 2 {
			t.Errorf("%d writes for %d frames", n, frames)
		}
	})
}

// TestPeerNeverReads: no caller waits longer than its context, or than a write may take.
func TestPeerNeverReads(t *testing.T) {
	rawBubble(t, Options{}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		begun := time.Now()
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		taken := send(short, c, frame(wire.CommandMsgData, 1)) // by the writer
		queued := send(short, c, frame(wire.CommandMsgData, 2))
		var patient []<-chan error
		for range 300 {
			patient = append(patient, send(t.Context(), c, frame(wire.CommandMsgData, 3)))
		}
		last := send(short, c, frame(wire.CommandMsgData, 4))

		wantSend(t, "taken", <-taken, ErrMaybeSent, context.DeadlineExceeded)
		wantSend(t, "queued", <-queued, ErrNotSent, context.DeadlineExceeded)
		wantSend(t, "last", <-last, ErrNotSent, context.DeadlineExceeded)
		wantElapsed(t, "short", begun, 3*time.Second)
		for _, outcome := range patient {
			wantSend(t, "patient", <-outcome, ErrNotSent, ErrClosed)
		}
		wantElapsed(t, "patient", begun, 10*time.Second)
		peer.WantErr(t, "down", <-h.down, errSlow)
	})
}

// TestCutOff: a frame counts as not sent only if no byte of it was.
func TestCutOff(t *testing.T) {
	cases := map[string]struct {
		reads      int // bytes that the peer reads
		closes     bool
		wantFirst  []error
		wantSecond []error
	}{
		"peer reads nothing and is slow":      {wantFirst: []error{ErrNotSent}, wantSecond: []error{ErrNotSent}},
		"peer reads nothing and closes":       {closes: true, wantFirst: []error{ErrNotSent}, wantSecond: []error{ErrNotSent}},
		"peer reads one byte and closes":      {reads: 1, closes: true, wantFirst: []error{ErrMaybeSent}, wantSecond: []error{ErrNotSent}},
		"peer reads one byte and is slow":     {reads: 1, wantFirst: []error{ErrMaybeSent}, wantSecond: []error{ErrNotSent}},
		"peer reads the first and closes":     {reads: 16, closes: true, wantSecond: []error{ErrNotSent}},
		"peer reads into the second":          {reads: 17, closes: true, wantSecond: []error{ErrMaybeSent}},
		"peer reads all but one byte":         {reads: 31, wantSecond: []error{ErrMaybeSent}},
		"peer reads both and closes with FIN": {reads: 32, closes: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var gate chan struct{}
			o := Options{Gate: func() error { <-gate; return nil }}
			rawBubble(t, o, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
				gate = make(chan struct{})
				// The gate holds a frame before these two, so that they form a batch.
				zeroth := send(t.Context(), c, nil)
				first := send(t.Context(), c, frame(wire.CommandMsgData, 1))
				second := send(t.Context(), c, frame(wire.CommandMsgData, 2))
				close(gate)
				wantSend(t, "empty", <-zeroth)
				readN(t, server, tc.reads)
				if tc.closes {
					_ = server.Close()
				}
				wantSend(t, "first", <-first, tc.wantFirst...)
				wantSend(t, "second", <-second, tc.wantSecond...)
			})
		})
	}
}

func TestGate(t *testing.T) {
	var closed atomic.Bool
	gate := func() error {
		if closed.Load() {
			return errGate
		}
		return nil
	}
	bubble(t, Options{Gate: gate}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		wantSend(t, "open", c.Send(t.Context(), frame(wire.CommandMsgData, 1)))
		closed.Store(true)
		// Refused frames must not delay heartbeats.
		for range 8 {
			wantSend(t, "closed", c.Send(t.Context(), frame(wire.CommandMsgData, 2)), ErrNotSent, errGate)
			peer.Elapse(time.Second)
		}
		closed.Store(false)
		wantSend(t, "open again", c.Send(t.Context(), frame(wire.CommandMsgData, 3)))
		wantCommands(t, server, wire.CommandMsgData, wire.CommandHeartBeat, wire.CommandMsgData)
		h.wantEvents(t, "up")
	})
}

// TestGateClosesMeanwhile: during a write to a slow peer, the gate is called again, and the rest is not written.
func TestGateClosesMeanwhile(t *testing.T) {
	cases := map[string]struct {
		reads    int
		wantSend []error
		wantDown bool
	}{
		"nothing read": {wantSend: []error{ErrNotSent, errGate}},
		"a part read":  {reads: 5, wantSend: []error{ErrMaybeSent, errGate}, wantDown: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var begun time.Time
			gate := func() error {
				if time.Since(begun) > 3*time.Second {
					return errGate
				}
				return nil
			}
			rawBubble(t, Options{Gate: gate}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
				begun = time.Now()
				outcome := send(t.Context(), c, frame(wire.CommandMsgData, 1))
				readN(t, server, tc.reads)
				wantSend(t, "Send", <-outcome, tc.wantSend...)
				if took := time.Since(begun); took > 4*time.Second+time.Millisecond {
					t.Errorf("the gate was called again after %v", took)
				}
				synctest.Wait()
				if down := len(h.down) > 0; down != tc.wantDown {
					t.Errorf("down: %v", down)
				}
			})
		})
	}
}

func TestSendWithContextDone(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantSend(t, "Send", c.Send(ctx, frame(wire.CommandMsgData, 1)), ErrNotSent, context.Canceled)
	})
}

// TestDrainWhileWaiting: stop-receiving stops the writer before it takes the frames that wait.
func TestDrainWhileWaiting(t *testing.T) {
	var gate chan struct{}
	o := Options{Gate: func() error { <-gate; return nil }}
	bubble(t, o, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		gate = make(chan struct{})
		inWriter := send(t.Context(), c, frame(wire.CommandMsgData, 1))
		inQueue := send(t.Context(), c, frame(wire.CommandMsgData, 2))
		server.SendRaw(frame(wire.CommandStopReceiving, 0))
		synctest.Wait()
		close(gate)
		wantSend(t, "in the writer", <-inWriter, ErrNotSent, ErrDraining)
		wantSend(t, "in the queue", <-inQueue, ErrNotSent, ErrDraining)
		wantCommands(t, server)
	})
}

// TestRealSockets sends over TCP: many senders at once, frames whole and in the order of each sender, then a peer
// that stops reading.
func TestRealSockets(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	h := newRecorder()
	o := Options{
		Address: listener.Addr().String(), Up: h.Up,
		Timing: Timing{Write: 200 * time.Millisecond, BackoffMin: time.Millisecond},
	}
	stop := peer.Start(t, func(ctx context.Context) { Run(ctx, o) })
	defer stop()
	c := <-h.up
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()

	const senders, each = 16, 500
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				body := binary.BigEndian.AppendUint32(nil, uint32(i))
				p := pdu.PDU{Command: wire.CommandMsgData, Seq: uint16(s), Body: body}
				if err := c.Send(t.Context(), p.Append(nil)); err != nil {
					t.Errorf("sender %d: %v", s, err)
					return
				}
			}
		})
	}
	var next [senders]uint32
	r := pdu.NewReader(server, 0)
	for range senders * each {
		p, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		if n := binary.BigEndian.Uint32(p.Body); n != next[p.Seq] {
			t.Fatalf("sender %d: frame %d, want %d", p.Seq, n, next[p.Seq])
		}
		next[p.Seq]++
	}
	wg.Wait()

	big := pdu.PDU{Command: wire.CommandMsgData, Body: make([]byte, 1<<20)}.Append(nil)
	for err == nil {
		err = c.Send(t.Context(), big)
	}
	wantSend(t, "cut off", err, ErrMaybeSent)
	peer.WantErr(t, "down", <-h.down, errSlow)
}
