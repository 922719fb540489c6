// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// maxFrame limits the memory for a frame of one connection. Stock servers have no limit.
	maxFrame = 64 << 20
	// maxPending limits the bytes that wait for a peer that does not read. A stock router has no limit. This one closes
	// the connection.
	maxPending = 64 << 20
)

// heartbeat is a whole frame.
var heartbeat = pdu.PDU{Service: wire.ServiceOther, Command: wire.CommandHeartBeat}.Append(nil)

// frame is a PDU with its bytes as received.
type frame struct {
	pdu.PDU
	raw []byte
}

// peer is one accepted connection.
type peer struct {
	conn     net.Conn
	endpoint *endpoint
	log      logr.Logger
	ctx      context.Context // ends with the connection
	cancel   context.CancelFunc

	mu      sync.Mutex
	pending []byte
	held    []*heldAnswer
	wake    chan struct{}
}

// heldAnswer is an answer that later ones overtake.
type heldAnswer struct {
	bytes []byte
	after int // answers still to pass
}

// run serves the connection until it ends. Its two goroutines have ended then.
func (p *peer) run() {
	var writer sync.WaitGroup
	writer.Go(p.write)
	err := p.read()
	p.cancel()
	writer.Wait()
	switch {
	case errors.Is(err, pdu.ErrLength):
		// A length below 16 aborts a stock server, and one that is too long fills
		// its memory. Nothing is gained by copying either.
		p.log.Info("Closed a connection that sent a frame which kills stock servers", "error", err.Error())
	case !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed):
		p.log.V(1).Info("Connection ended", "error", err.Error())
	default:
		p.log.V(1).Info("Connection closed")
	}
}

func (p *peer) read() error {
	buffered := bufio.NewReaderSize(&deadlineReader{p.conn, p.endpoint.options.SilenceTimeout}, 64<<10)
	var raw bytes.Buffer
	frames := pdu.NewReader(io.TeeReader(buffered, &raw), maxFrame)
	for {
		raw.Reset()
		next, err := frames.Read()
		if err != nil {
			return err
		}
		p.endpoint.handle(p, frame{PDU: next, raw: raw.Bytes()})
	}
}

// deadlineReader fails where nothing arrives for too long.
type deadlineReader struct {
	conn    net.Conn
	timeout time.Duration
}

func (r *deadlineReader) Read(b []byte) (int, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(r.timeout)); err != nil {
		return 0, err
	}
	return r.conn.Read(b)
}

// write sends pending frames, and heartbeats if there are none. It closes the connection when it returns.
func (p *peer) write() {
	defer p.close()
	idle := time.NewTimer(p.endpoint.options.HeartbeatInterval)
	defer idle.Stop()
	var spare []byte
	for {
		var out []byte
		select {
		case <-p.ctx.Done():
			return
		case <-idle.C:
			out = heartbeat
		case <-p.wake:
			p.mu.Lock()
			out, p.pending = p.pending, spare[:0]
			p.mu.Unlock()
			spare = out
		}
		if err := p.conn.SetWriteDeadline(time.Now().Add(p.endpoint.options.SilenceTimeout)); err != nil {
			return
		}
		if _, err := p.conn.Write(out); err != nil {
			p.log.V(1).Info("Cannot write to a peer", "error", err.Error())
			return
		}
		idle.Reset(p.endpoint.options.HeartbeatInterval)
	}
}

// close ends the connection. Pending frames are lost.
func (p *peer) close() {
	p.cancel()
	// Closed here too, so that no further byte leaves after a crash.
	_ = p.conn.Close()
}

// gone reports whether the connection has ended.
func (p *peer) gone() bool { return p.ctx.Err() != nil }

// send queues a frame, and the held frames that follow it.
func (p *peer) send(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.append(b)
	held := p.held[:0]
	for _, h := range p.held {
		if h.after--; h.after <= 0 {
			p.append(h.bytes)
		} else {
			held = append(held, h)
		}
	}
	p.held = held
}

// append queues a frame; p.mu is held.
func (p *peer) append(b []byte) {
	if len(p.pending)+len(b) > maxPending {
		p.log.Info("Closed a connection whose peer does not read", "pendingBytes", len(p.pending))
		p.close()
		return
	}
	p.pending = append(p.pending, b...)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// sendAfter sends a frame later, unless the connection ends before.
func (p *peer) sendAfter(delay time.Duration, b []byte) {
	p.endpoint.later(p.ctx, delay, func() { p.send(b) })
}

// hold delays a frame until the given number of later ones have been queued, or the delay has passed.
func (p *peer) hold(after int, delay time.Duration, b []byte) {
	h := &heldAnswer{bytes: b, after: after}
	p.mu.Lock()
	p.held = append(p.held, h)
	p.mu.Unlock()
	p.endpoint.later(p.ctx, delay, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, other := range p.held {
			if other == h {
				p.held = append(p.held[:i:i], p.held[i+1:]...)
				p.append(h.bytes)
				return
			}
		}
	})
}
