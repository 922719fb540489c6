package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// queueLen bounds the frames that wait for the writer; more senders wait
	// until there is room.
	queueLen = 256
	// batchLen is how many bytes of frames the writer gathers, at least, before
	// it writes without looking for more.
	batchLen = 64 << 10
	// keepLen is the largest buffer, in bytes, that the writer keeps.
	keepLen = 1 << 20
)

var (
	// ErrNotSent reports a frame of which not one byte was handed to the kernel.
	ErrNotSent = errors.New("not sent")
	// ErrMaybeSent reports a frame of which some or all bytes may have been
	// handed to the kernel.
	ErrMaybeSent = errors.New("may have been sent")
)

// A frame's state decides who may speak for it: its sender, as long as it
// waits; the writer, once it has taken it.
const (
	waiting int32 = iota
	taken
	withdrawn
)

// outgoing is a frame on its way to the writer.
type outgoing struct {
	frame []byte
	state atomic.Int32
	// err is the outcome; set before settled is closed.
	err     error
	settled chan struct{}
}

func (o *outgoing) settle(err error) {
	o.err = err
	close(o.settled)
}

// Send writes one whole frame, which must not change any more. It returns nil
// once all of it was handed to the kernel. ErrNotSent (wrapped, beside its
// reason: the gate's or ctx's error, ErrDraining, ErrClosed) says that not one
// byte was, ErrMaybeSent (wrapped) that this is not known or that it was cut
// off. Concurrent frames are written together.
func (c *Conn) Send(ctx context.Context, frame []byte) error {
	if err := ctx.Err(); err != nil {
		return notSent(err)
	}
	if err := c.stopped(); err != nil {
		return notSent(err)
	}
	o := &outgoing{frame: frame, settled: make(chan struct{})}
	select {
	case c.queue <- o:
	case <-ctx.Done():
		return notSent(ctx.Err())
	case <-c.written:
		return notSent(c.stopped())
	}
	select {
	case <-o.settled:
		return o.err
	case <-ctx.Done():
		if o.state.CompareAndSwap(waiting, withdrawn) {
			return notSent(ctx.Err())
		}
		select {
		case <-o.settled:
			return o.err
		default:
			return maybeSent(ctx.Err())
		}
	case <-c.written:
		if o.state.CompareAndSwap(waiting, withdrawn) {
			return notSent(c.stopped())
		}
		// The writer settles what it took before it ends.
		<-o.settled
		return o.err
	}
}

func notSent(reason error) error   { return fmt.Errorf("%w: %w", ErrNotSent, reason) }
func maybeSent(reason error) error { return fmt.Errorf("%w: %w", ErrMaybeSent, reason) }

// stopped returns why nothing is sent any more, or nil. The connection's own
// errors name addresses; they are for Down alone.
func (c *Conn) stopped() error {
	select {
	case <-c.draining:
		return ErrDraining
	default:
	}
	select {
	case <-c.closed:
		return ErrClosed
	default:
		return nil
	}
}

// write writes frames and heartbeats until the connection drains or ends.
func (c *Conn) write() {
	defer close(c.written)
	idle := time.NewTimer(c.opts.Timing.Heartbeat)
	defer idle.Stop()
	heartbeat := pdu.PDU{Service: wire.ServiceOther, Command: wire.CommandHeartBeat}.Append(nil)
	var b batch
	for {
		// Which of several ready cases a select takes is left to chance.
		if c.stopped() != nil {
			return
		}
		select {
		case <-c.draining:
			return
		case <-c.closed:
			return
		case o := <-c.queue:
			b.gather(o, c.queue)
			n, err := c.writeAll(b.bytes, c.opts.Gate)
			b.settle(n, err)
			if n == 0 {
				// A closed gate must not keep heartbeats from being sent.
				continue
			}
		case <-idle.C:
			// A failure has closed the connection.
			_, _ = c.writeAll(heartbeat, nil)
		}
		idle.Reset(c.opts.Timing.Heartbeat)
	}
}

// writeAll writes b while the gate is open. It returns how many bytes were
// handed to the kernel. After an error other than the gate's, and after one of
// the gate's that cuts b, the connection is closed: the peer could not make
// sense of what came next.
func (c *Conn) writeAll(b []byte, gate func() error) (int, error) {
	begun := time.Now()
	patience := c.opts.Timing.Write
	written := 0
	for written < len(b) {
		// Bytes leave for the kernel during the whole of a slow write, and this
		// process may be stopped at any point. Counted from before the gate was
		// asked, the deadline keeps an answer of the gate from being used late.
		slice := time.Now().Add(max(patience/10, time.Millisecond))
		if gate != nil {
			if err := gate(); err != nil {
				if written > 0 {
					c.Close(err)
				}
				return written, err
			}
		}
		if err := c.stopped(); err != nil && written == 0 {
			return 0, err
		}
		err := c.nc.SetWriteDeadline(slice)
		n := 0
		if err == nil {
			n, err = c.nc.Write(b[written:])
		}
		written += n
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			c.Close(err)
			return written, ErrClosed
		case time.Since(begun) >= patience:
			c.Close(errSlow)
			return written, errSlow
		}
	}
	return written, nil
}

// batch is what is written at once. It is used again and again.
type batch struct {
	bytes  []byte
	frames []*outgoing
}

// gather takes first and what else waits in queue, up to batchLen or the one
// frame that exceeds it. Withdrawn frames are left out.
func (b *batch) gather(first *outgoing, queue <-chan *outgoing) {
	if cap(b.bytes) > keepLen {
		b.bytes = nil
	}
	b.bytes, b.frames = b.bytes[:0], b.frames[:0]
	for o := first; ; {
		if o.state.CompareAndSwap(waiting, taken) {
			b.bytes = append(b.bytes, o.frame...)
			b.frames = append(b.frames, o)
		}
		if len(b.bytes) >= batchLen {
			return
		}
		select {
		case o = <-queue:
		default:
			return
		}
	}
}

// settle tells each frame's sender what became of it, given how many bytes of
// the batch were handed to the kernel and why no more were.
func (b *batch) settle(written int, err error) {
	start := 0
	for _, o := range b.frames {
		end := start + len(o.frame)
		switch {
		case end <= written:
			o.settle(nil)
		case start < written:
			o.settle(maybeSent(err))
		default:
			o.settle(notSent(err))
		}
		start = end
	}
	clear(b.frames)
}
