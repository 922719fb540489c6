// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

var (
	// ErrProtocol reports a peer that does not speak the protocol.
	ErrProtocol = errors.New("protocol violation")
	// ErrClosed reports a connection that has ended.
	ErrClosed = errors.New("connection closed")
	// ErrDraining reports a peer that sent stop-receiving.
	ErrDraining = errors.New("the server accepts no more requests")

	errSilent    = errors.New("nothing received for too long")
	errDrained   = errors.New("still open long after stop-receiving")
	errPeerGone  = errors.New("closed by the peer")
	errSlow      = errors.New("the peer does not read")
	errRunEnding = errors.New("no longer wanted")
)

// Handler gets the events of a Link. Its methods are called sequentially, for each connection in this order:
// Up, any number of Frame and at most one Draining, Down. They must not block, because they delay
// reading.
type Handler interface {
	// Up: c is connected and can send.
	Up(c *Conn)
	// Frame: a frame was received, other than heartbeats and stop-receiving. err is nil, or wraps pdu.ErrTooLong
	// for a frame without its body.
	Frame(c *Conn, p pdu.PDU, err error)
	// Draining: c does not send any more, but still reads.
	Draining(c *Conn)
	// Down: c has ended. All calls of Send have their results.
	Down(c *Conn, err error)
}

// Conn is a connection of a Link, until it ends.
type Conn struct {
	nc   net.Conn
	opts Options

	queue chan *outgoing
	// draining and closed stop the writer. written is closed when it has stopped.
	draining, closed, written chan struct{}

	closeOnce sync.Once
	cause     error // set before closed is closed
}

func newConn(nc net.Conn, opts Options) *Conn {
	return &Conn{
		nc:       nc,
		opts:     opts,
		queue:    make(chan *outgoing, queueLen),
		draining: make(chan struct{}),
		closed:   make(chan struct{}),
		written:  make(chan struct{}),
	}
}

// Close ends the connection, so that the link redials. Frames in flight may have reached the peer. The first
// cause is kept.
func (c *Conn) Close(cause error) {
	c.closeOnce.Do(func() {
		c.cause = cause
		close(c.closed)
		_ = c.nc.Close()
	})
}

// run waits until the connection ends or ctx is done. It returns whether it has received a frame, and the
// cause of the end, which is never nil.
func (c *Conn) run(ctx context.Context) (received bool, err error) {
	var wg sync.WaitGroup
	wg.Go(c.write)
	wg.Go(func() {
		select {
		case <-ctx.Done():
			c.Close(errRunEnding)
		case <-c.closed:
		}
	})
	c.opts.Handler.Up(c)
	received, err = c.read()
	c.Close(err)
	wg.Wait()
	c.opts.Handler.Down(c, c.cause)
	return received, c.cause
}

// read passes frames to the handler until the connection ends, and returns the cause.
func (c *Conn) read() (received bool, err error) {
	in := &deadlineReader{nc: c.nc, timeout: c.opts.Timing.Silence}
	frames := pdu.NewReader(bufio.NewReaderSize(in, 64<<10), 0)
	if c.opts.Stream != nil {
		frames.Stream(func(p pdu.PDU) io.Writer { return c.opts.Stream(c, p) })
	}
	for {
		p, err := frames.Read()
		switch {
		case err == nil, errors.Is(err, pdu.ErrTooLong):
		case errors.Is(err, pdu.ErrLength):
			return received, fmt.Errorf("%w: %w", ErrProtocol, err)
		case errors.Is(err, os.ErrDeadlineExceeded) && in.until.IsZero():
			return received, errSilent
		case errors.Is(err, os.ErrDeadlineExceeded):
			return received, errDrained
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return received, errPeerGone
		default:
			return received, err
		}
		received = true
		switch p.Command {
		case wire.CommandHeartBeat:
		case wire.CommandStopReceiving:
			if in.until.IsZero() {
				in.until = time.Now().Add(c.opts.Timing.Silence)
				c.drain()
			}
		default:
			c.opts.Handler.Frame(c, p, err)
		}
	}
}

// drain stops sending, and delays dials until the server has exited.
func (c *Conn) drain() {
	away := c.opts.Timing.StayAway
	c.opts.DialBackoff.extend(away + jitter(away/5))
	close(c.draining)
	c.opts.Log.Info("the server accepts no more requests")
	c.opts.Handler.Draining(c)
}

// deadlineReader reads from a connection with a timeout for each read, and until a time if that is set. So a
// long frame may take as long as it makes progress.
type deadlineReader struct {
	nc      net.Conn
	timeout time.Duration
	until   time.Time
}

// Read implements io.Reader.
func (r *deadlineReader) Read(b []byte) (int, error) {
	deadline := time.Now().Add(r.timeout)
	if !r.until.IsZero() && r.until.Before(deadline) {
		deadline = r.until
	}
	// It fails only if the connection has ended, as the read does.
	_ = r.nc.SetReadDeadline(deadline)
	return r.nc.Read(b)
}
