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
	// ErrDraining reports a peer that said stop-receiving.
	ErrDraining = errors.New("the server takes no more")

	errSilent    = errors.New("nothing received for too long")
	errDrained   = errors.New("still open long after stop-receiving")
	errPeerGone  = errors.New("closed by the peer")
	errSlow      = errors.New("the peer does not read")
	errRunEnding = errors.New("no longer wanted")
)

// Handler is told what happens on a Link. Its methods are called one at a time
// per link, in this order for each connection: Up, any number of Frame with at
// most one Draining between, Down. They must not block: while they run, nothing
// is read.
type Handler interface {
	// Up hands over a new connection, ready to send.
	Up(c *Conn)
	// Frame hands over a frame that came, heartbeats and stop-receiving aside.
	// err is nil, or wraps pdu.ErrTooLong for a frame that was skipped and has
	// no body.
	Frame(c *Conn, p pdu.PDU, err error)
	// Draining says that c sends no more; what is under way is still read.
	Draining(c *Conn)
	// Down says that c has ended, and why. The fate of every frame given to
	// Send is settled by then.
	Down(c *Conn, err error)
}

// Conn is one connection of a Link. Once it has ended it stays so: a Link's
// next connection is another Conn.
type Conn struct {
	nc   net.Conn
	opts Options

	queue chan *outgoing
	// draining and closed tell the writer to stop; written is closed once it has.
	draining, closed, written chan struct{}

	closeOnce sync.Once
	cause     error // why the connection ended; set before closed is
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

// Close ends the connection; the link dials another one. What is under way on it
// may or may not have reached the peer. The first cause given is kept.
func (c *Conn) Close(cause error) {
	c.closeOnce.Do(func() {
		c.cause = cause
		close(c.closed)
		// Nothing is lost where closing fails: nobody uses it any more.
		_ = c.nc.Close()
	})
}

// run holds the connection until it ends or ctx is done. It returns whether
// anything came, and why the connection ended, never nil.
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

// read hands frames over until the connection ends, and says why it did.
func (c *Conn) read() (received bool, err error) {
	in := &patientReader{nc: c.nc, patience: c.opts.Timing.Silence}
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

// drain stops sending, for good, and keeps the links to this server from
// dialing it while it exits.
func (c *Conn) drain() {
	away := c.opts.Timing.StayAway
	c.opts.DialBackoff.extend(away + jitter(away/5))
	close(c.draining)
	c.opts.Log.Info("the server takes no more")
	c.opts.Handler.Draining(c)
}

// patientReader reads from a connection, giving each read so much patience,
// and none after until where that is set. A long frame may thus take as long
// as it likes while it is coming.
type patientReader struct {
	nc       net.Conn
	patience time.Duration
	until    time.Time
}

// Read implements io.Reader.
func (r *patientReader) Read(b []byte) (int, error) {
	deadline := time.Now().Add(r.patience)
	if !r.until.IsZero() && r.until.Before(deadline) {
		deadline = r.until
	}
	// A connection that takes no deadline has ended; the read says how.
	_ = r.nc.SetReadDeadline(deadline)
	return r.nc.Read(b)
}
