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

	"golang.org/x/time/rate"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

var (
	// ErrProtocol reports a peer that does not speak the protocol.
	ErrProtocol = errors.New("protocol violation")
	// ErrClosed reports a connection that has ended.
	ErrClosed = errors.New("connection closed")
	// ErrSilent is the cause of the end of a connection on which nothing was received for too long.
	ErrSilent = errors.New("nothing received for too long")
	// ErrDraining reports a peer that sent stop-receiving.
	ErrDraining = errors.New("the server accepts no more requests")
	// ErrSlowFrame reports a frame that did not arrive in the time of Conn.ReadBefore.
	ErrSlowFrame = errors.New("the frame did not arrive in time")

	// ErrFlood is the cause for closing a connection whose peer floods it with unrequested data.
	ErrFlood = fmt.Errorf("%w: the peer floods the connection with unrequested data", ErrProtocol)

	errDrained  = errors.New("still open long after stop-receiving")
	errPeerGone = errors.New("closed by the peer")
	errSlow     = errors.New("the peer does not read")
)

// Handler gets the events of a connection. Its methods are called sequentially, and Down last. They must not
// block, because they delay reading.
type Handler interface {
	// Frame: a frame has begun, other than heartbeats and stop-receiving. Frame reads what it needs of the body; the rest
	// is skipped. It returns false if the frame was not requested: the connection of a flooding peer is closed.
	Frame(f *pdu.Frame) (asked bool)
	// Draining is called when the connection does not send any more, but still reads.
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
	in       *deadlineReader
}

func newConn(ctx context.Context, nc net.Conn, opts Options) *Conn {
	c := &Conn{nc: nc, opts: opts, queue: make(chan outgoing), draining: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.in = &deadlineReader{ctx: c.ctx, nc: nc, timeout: opts.Timing.Silence, limiter: opts.Reads}
	return c
}

// Close ends the connection, so that the link redials. Frames in flight may have reached the peer. The first
// cause is kept.
func (c *Conn) Close(cause error) { c.cancel(cause) }

// RemoteAddr is the address that the connection was made to.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

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

// ReadBefore bounds the time in which Handler.Frame can read the frame that it was called with. Later reads of the
// frame fail. The connection goes on, and skips the rest of the frame. Delays by the limiter do not count. The zero
// time ends the bound. Only Handler.Frame may call it.
func (c *Conn) ReadBefore(t time.Time) {
	if c.in.frameEnd.IsZero() {
		c.in.delayed = 0
	}
	c.in.frameEnd = t
}

// bufferLen is the size in bytes of the buffer of each connection. There may be thousands of connections.
const bufferLen = 4 << 10

// read passes frames to the handler until the connection ends, and returns the cause.
func (c *Conn) read(handler Handler) (received bool, err error) {
	frames := pdu.NewReader(bufio.NewReaderSize(c.in, bufferLen), 0)
	unasked := flood{limiter: c.opts.Reads, began: time.Now()}
	for {
		f, err := frames.Next()
		switch {
		case err == nil:
		case errors.Is(err, pdu.ErrLength):
			return received, fmt.Errorf("%w: %w", ErrProtocol, err)
		case errors.Is(err, os.ErrDeadlineExceeded) && c.in.until.IsZero():
			return received, ErrSilent
		case errors.Is(err, os.ErrDeadlineExceeded):
			return received, errDrained
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return received, errPeerGone
		default:
			return received, err
		}
		received = true
		c.in.owed += frameCost
		asked := false
		switch f.Command {
		case wire.CommandHeartBeat:
		case wire.CommandStopReceiving:
			if c.in.until.IsZero() {
				c.in.until = time.Now().Add(c.opts.Timing.Silence)
				c.drain()
				handler.Draining()
			}
		default:
			asked = handler.Frame(f)
			c.in.frameEnd = time.Time{}
		}
		if !asked && unasked.exceeds(f.Len+frameCost, c.in.throttled) {
			return received, ErrFlood
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
// long frame may take as long as it makes progress. It delays reads over the limit of the limiter.
type deadlineReader struct {
	ctx     context.Context
	nc      net.Conn
	timeout time.Duration
	limiter *rate.Limiter // may be nil
	// owed is what the next read has to wait for.
	owed  int
	until time.Time
	// frameEnd, if set, ends reads of the current frame. Delays by the limiter are added. See Conn.ReadBefore.
	frameEnd time.Time
	delayed  time.Duration
	// throttled is how long the limiter has delayed all reads.
	throttled time.Duration
	// err is the end of the connection.
	err error
}

// Read implements io.Reader.
func (r *deadlineReader) Read(b []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.throttle()
	deadline := time.Now().Add(r.timeout)
	if !r.until.IsZero() && r.until.Before(deadline) {
		deadline = r.until
	}
	frameEnd := r.frameEnd.Add(r.delayed)
	bounded := !r.frameEnd.IsZero() && frameEnd.Before(deadline)
	if bounded {
		deadline = frameEnd
	}
	// It fails only if the connection has ended, as the read does.
	_ = r.nc.SetReadDeadline(deadline)
	n, err := r.nc.Read(b)
	r.owed += n + readCost
	if bounded && errors.Is(err, os.ErrDeadlineExceeded) {
		return n, ErrSlowFrame
	}
	r.err = err
	return n, err
}

// throttle waits until the read bytes are within the limit, or the connection ends.
func (r *deadlineReader) throttle() {
	if r.limiter == nil {
		return
	}
	now := time.Now()
	if delay := r.limiter.ReserveN(now, min(r.owed, r.limiter.Burst())).DelayFrom(now); delay > 0 {
		sleep(r.ctx, delay)
		r.delayed += time.Since(now)
		r.throttled += time.Since(now)
	}
	r.owed = 0
}
