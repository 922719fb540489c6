// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

	errSilent   = errors.New("nothing received for too long")
	errDrained  = errors.New("still open long after stop-receiving")
	errPeerGone = errors.New("closed by the peer")
	errSlow     = errors.New("the peer does not read")
)

// Handler gets the events of a connection. Its methods are called sequentially, and Down last. They must not
// block, because they delay reading.
type Handler interface {
	// Stream returns the writer for the body of a frame that is too long to hold, or nil to discard it.
	// Frame is called after it.
	Stream(p pdu.PDU) io.Writer
	// Frame: a frame was received, other than heartbeats and stop-receiving. err is nil, or wraps pdu.ErrTooLong
	// for a frame without its body.
	Frame(p pdu.PDU, err error)
	// Draining: the connection does not send any more, but still reads.
	Draining()
	// Down: the connection has ended. All calls of Send have their results.
	Down(err error)
}

// Conn is a connection of a link, until it ends.
type Conn struct {
	nc    net.Conn
	opts  Options
	queue chan outgoing
	// ctx is done when the connection ends, with the cause. It and draining stop the writer.
	ctx      context.Context
	cancel   context.CancelCauseFunc
	draining chan struct{}
}

func newConn(ctx context.Context, nc net.Conn, opts Options) *Conn {
	c := &Conn{nc: nc, opts: opts, queue: make(chan outgoing), draining: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	return c
}

// Close ends the connection, so that the link redials. Frames in flight may have reached the peer. The first
// cause is kept.
func (c *Conn) Close(cause error) { c.cancel(cause) }

// run waits until the connection ends. It returns whether it has received a frame, and the cause of the end,
// which is never nil.
func (c *Conn) run() (received bool, cause error) {
	var wg sync.WaitGroup
	wg.Go(c.write)
	wg.Go(func() {
		<-c.ctx.Done()
		_ = c.nc.Close()
	})
	handler := c.opts.Up(c)
	received, err := c.read(handler)
	c.Close(err)
	wg.Wait()
	cause = context.Cause(c.ctx)
	handler.Down(cause)
	return received, cause
}

// read passes frames to the handler until the connection ends, and returns the cause.
func (c *Conn) read(handler Handler) (received bool, err error) {
	in := &deadlineReader{nc: c.nc, timeout: c.opts.Timing.Silence}
	frames := pdu.NewReader(bufio.NewReaderSize(in, 64<<10), 0)
	frames.Stream(handler.Stream)
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
				handler.Draining()
			}
		default:
			handler.Frame(p, err)
		}
	}
}

// drain stops sending, and delays dials until the server has exited.
func (c *Conn) drain() {
	away := c.opts.Timing.StayAway
	c.opts.DialBackoff.extend(away + rand.N(away/5+1))
	close(c.draining)
	c.opts.Log.Info("the server accepts no more requests")
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
