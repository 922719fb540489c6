// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
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

// send sends in the background.
func send(ctx context.Context, c *Conn, frame []byte) <-chan error {
	outcome := make(chan error, 1)
	go func() { outcome <- c.Send(ctx, frame) }()
	return outcome
}

func wantSend(t *testing.T, what string, err error, wants ...error) {
	t.Helper()
	if len(wants) == 0 && err != nil {
		t.Errorf("%s: %v", what, err)
	}
	for _, want := range wants {
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	if errors.Is(err, ErrNotSent) && errors.Is(err, ErrMaybeSent) {
		t.Errorf("%s: %v is both", what, err)
	}
}

func TestSendCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writes atomic.Int32
		h, d := newRecorder(), newDials(t)
		stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := d.dial(ctx, network, address)
			return countingConn{nc, &writes}, err
		}})
		c, peer := <-h.up, <-d.accepted
		const frames = 100
		var outcomes []<-chan error
		for i := range frames {
			outcomes = append(outcomes, send(t.Context(), c, frame(wire.CommandMsgData, uint16(i))))
			synctest.Wait() // in this order
		}
		arrivals := collect(peer, time.Now())
		for _, outcome := range outcomes {
			wantSend(t, "Send", <-outcome)
		}
		synctest.Wait()
		for i, a := range arrivals() {
			if a.Seq != uint16(i) {
				t.Fatalf("frame %d came as number %d", a.Seq, i)
			}
		}
		if n := len(arrivals()); n != frames {
			t.Errorf("%d frames came", n)
		}
		if n := writes.Load(); n != 2 {
			t.Errorf("%d writes for %d frames", n, frames)
		}
		stop()
	})
}

// TestPeerNeverReads: nobody waits longer than they want to, or than a write
// may take.
func TestPeerNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := newRecorder(), newDials(t)
		stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial})
		c, peer := <-h.up, <-d.accepted
		begun := time.Now()
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()

		first := send(short, c, frame(wire.CommandMsgData, 1)) // taken by the writer
		synctest.Wait()
		second := send(short, c, frame(wire.CommandMsgData, 2)) // in the queue
		patient := send(t.Context(), c, frame(wire.CommandMsgData, 3))
		synctest.Wait()
		var rest []<-chan error
		for range 300 {
			rest = append(rest, send(t.Context(), c, frame(wire.CommandMsgData, 4)))
		}
		synctest.Wait()
		crowdedOut := send(short, c, frame(wire.CommandMsgData, 5)) // the queue is full
		outside := send(t.Context(), c, frame(wire.CommandMsgData, 6))

		wantSend(t, "taken", <-first, ErrMaybeSent, context.DeadlineExceeded)
		wantSend(t, "queued", <-second, ErrNotSent, context.DeadlineExceeded)
		wantSend(t, "without room", <-crowdedOut, ErrNotSent, context.DeadlineExceeded)
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("they waited %v", took)
		}
		wantSend(t, "patient", <-patient, ErrNotSent, ErrClosed)
		wantSend(t, "patient without room", <-outside, ErrNotSent, ErrClosed)
		for _, outcome := range rest {
			wantSend(t, "queued and patient", <-outcome, ErrNotSent, ErrClosed)
		}
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("the patient ones waited %v", took)
		}
		if err := <-h.down; !errors.Is(err, errSlow) {
			t.Errorf("down: %v", err)
		}
		_ = peer.Close()
		stop()
	})
}

// TestCutOff: a frame is not sent only where none of it was.
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
			synctest.Test(t, func(t *testing.T) {
				h, d := newRecorder(), newDials(t)
				gate := make(chan struct{})
				stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial, Gate: func() error { <-gate; return nil }})
				c, peer := <-h.up, <-d.accepted
				// The gate keeps a frame before these two, so that they form a batch.
				zeroth := send(t.Context(), c, nil)
				synctest.Wait()
				first := send(t.Context(), c, frame(wire.CommandMsgData, 1))
				synctest.Wait()
				second := send(t.Context(), c, frame(wire.CommandMsgData, 2))
				synctest.Wait()
				close(gate)
				wantSend(t, "empty", <-zeroth)
				if _, err := io.ReadFull(peer, make([]byte, tc.reads)); err != nil {
					t.Error(err)
				}
				if tc.closes {
					_ = peer.Close()
				}
				wantSend(t, "first", <-first, tc.wantFirst...)
				wantSend(t, "second", <-second, tc.wantSecond...)
				stop()
				_ = peer.Close()
			})
		})
	}
}

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed atomic.Bool
		gate := func() error {
			if closed.Load() {
				return errGate
			}
			return nil
		}
		h, d := newRecorder(), newDials(t)
		stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial, Gate: gate})
		c, peer := <-h.up, <-d.accepted
		arrivals := collect(peer, time.Now())
		wantSend(t, "open", c.Send(t.Context(), frame(wire.CommandMsgData, 1)))
		closed.Store(true)
		// Refused frames must not put off heartbeats.
		for range 8 {
			wantSend(t, "closed", c.Send(t.Context(), frame(wire.CommandMsgData, 2)), ErrNotSent, errGate)
			elapse(time.Second)
		}
		closed.Store(false)
		wantSend(t, "open again", c.Send(t.Context(), frame(wire.CommandMsgData, 3)))
		synctest.Wait()
		want := []wire.Command{wire.CommandMsgData, wire.CommandHeartBeat, wire.CommandMsgData}
		got := arrivals()
		for i, a := range got {
			if len(got) != len(want) || a.Command != want[i] || a.Seq == 2 {
				t.Fatalf("got %v", got)
			}
		}
		if n := len(h.up); n != 0 || len(got) == 0 {
			t.Errorf("%d more connections, %d frames", n, len(got))
		}
		stop()
	})
}

// TestGateClosesMeanwhile: while a slow peer keeps a write waiting, the gate
// is asked again, and what is left is not written.
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
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				gate := func() error {
					if time.Since(begun) > 3*time.Second {
						return errGate
					}
					return nil
				}
				h, d := newRecorder(), newDials(t)
				stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial, Gate: gate})
				c, peer := <-h.up, <-d.accepted
				outcome := send(t.Context(), c, frame(wire.CommandMsgData, 1))
				if _, err := io.ReadFull(peer, make([]byte, tc.reads)); err != nil {
					t.Error(err)
				}
				wantSend(t, "Send", <-outcome, tc.wantSend...)
				if took := time.Since(begun); took > 4*time.Second+time.Millisecond {
					t.Errorf("the gate was asked again after %v", took)
				}
				synctest.Wait()
				if down := len(h.down) > 0; down != tc.wantDown {
					t.Errorf("down: %v", down)
				}
				stop()
				_ = peer.Close()
			})
		})
	}
}

func TestSendWithContextDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := newRecorder(), newDials(t)
		stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial})
		c := <-h.up
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantSend(t, "Send", c.Send(ctx, frame(wire.CommandMsgData, 1)), ErrNotSent, context.Canceled)
		stop()
	})
}

// TestDrainWhileWaiting: stop-receiving reaches the writer before what waits.
func TestDrainWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, gate := make(chan struct{}, 1), make(chan struct{})
		h, d := newRecorder(), newDials(t)
		stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial, Gate: func() error {
			asked <- struct{}{}
			<-gate
			return nil
		}})
		c, peer := <-h.up, <-d.accepted
		inWriter := send(t.Context(), c, frame(wire.CommandMsgData, 1))
		<-asked
		inQueue := send(t.Context(), c, frame(wire.CommandMsgData, 2))
		write(t, peer, frame(wire.CommandStopReceiving, 0))
		synctest.Wait()
		close(gate)
		wantSend(t, "in the writer", <-inWriter, ErrNotSent, ErrDraining)
		wantSend(t, "in the queue", <-inQueue, ErrNotSent, ErrDraining)
		_ = peer.Close()
		stop()
	})
}

// TestRealSockets holds a connection over TCP: many senders at once, frames
// whole and in each sender's order, then a peer that stops reading.
func TestRealSockets(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	h := newRecorder()
	stop := start(t, Options{
		Address: listener.Addr().String(), Up: h.Up,
		Timing: Timing{Write: 200 * time.Millisecond, BackoffMin: time.Millisecond},
	})
	defer stop()
	c := <-h.up
	peer, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()

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
	r := pdu.NewReader(peer, 0)
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
	if err := <-h.down; !errors.Is(err, errSlow) {
		t.Errorf("down: %v", err)
	}
}

func BenchmarkSend(b *testing.B) {
	ours, theirs := net.Pipe()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, theirs)
	}()
	h := newRecorder()
	ctx, cancel := context.WithCancel(b.Context())
	c := newConn(ctx, ours, Options{Up: h.Up, DialBackoff: &DialBackoff{}, Timing: Timing{}.withDefaults()})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.run()
	}()
	f := frame(wire.CommandMsgData, 1)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := c.Send(ctx, f); err != nil {
				b.Error(err)
				return
			}
		}
	})
	cancel()
	<-ended
	_ = theirs.Close()
	<-drained
}
