// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// batchLen is the size in bytes at which a batch is written without waiting for more frames.
	batchLen = 64 << 10
	// keepLen is the largest buffer, in bytes, that the writer reuses.
	keepLen = 1 << 20
)

var (
	// ErrNotSent reports a frame of which no byte was passed to the kernel.
	ErrNotSent = errors.New("not sent")
	// ErrMaybeSent reports a frame of which some or all bytes may have been passed to the kernel.
	ErrMaybeSent = errors.New("may have been sent")
)

// outgoing is a frame that the writer has taken: it always gets a result.
type outgoing struct {
	frame  []byte
	result chan error // capacity 1
}

// Send writes a frame, which must not change any more. It returns nil when the kernel has all of it. ErrNotSent means
// that the kernel has no byte of it. It is wrapped with the reason: the error of the gate or of ctx, ErrDraining or
// ErrClosed. ErrMaybeSent (wrapped) means that the kernel may have some bytes. Concurrent frames are written
// together.
func (c *Conn) Send(ctx context.Context, frame []byte) error {
	if err := ctx.Err(); err != nil {
		return notSent(err)
	}
	o := outgoing{frame: frame, result: make(chan error, 1)}
	select {
	case c.queue <- o:
	case <-ctx.Done():
		return notSent(ctx.Err())
	case <-c.draining:
		return notSent(ErrDraining)
	case <-c.ctx.Done():
		return notSent(ErrClosed)
	}
	select {
	case err := <-o.result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-o.result:
		return err
	default:
		return maybeSent(ctx.Err())
	}
}

func notSent(reason error) error   { return fmt.Errorf("%w: %w", ErrNotSent, reason) }
func maybeSent(reason error) error { return fmt.Errorf("%w: %w", ErrMaybeSent, reason) }

// stopped returns why the connection does not send any more, or nil. It does not return the cause, which
// contains addresses.
func (c *Conn) stopped() error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	select {
	case <-c.draining:
		return ErrDraining
	default:
		return nil
	}
}

// write is the writer. It stops when the connection drains or ends.
func (c *Conn) write() {
	idle := time.NewTimer(c.opts.Timing.Heartbeat)
	defer idle.Stop()
	heartbeat := pdu.PDU{Service: wire.ServiceOther, Command: wire.CommandHeartBeat}.Append(nil)
	var b batch
	// Select chooses among several ready cases at random.
	for c.stopped() == nil {
		select {
		case <-c.draining:
		case <-c.ctx.Done():
		case o := <-c.queue:
			b.gather(o, c.queue)
			n, err := c.writeAll(b.bytes, c.opts.Gate)
			b.settle(n, err)
			if n == 0 {
				// A closed gate must not delay heartbeats.
				continue
			}
		case <-idle.C:
			// A failure closes the connection.
			_, _ = c.writeAll(heartbeat, nil)
		}
		idle.Reset(c.opts.Timing.Heartbeat)
	}
}

// writeAll writes b while the gate is open. It returns how many bytes were passed to the kernel. It closes the
// connection after an error, unless the gate returned it before the first byte: the peer could not parse
// the next frame.
func (c *Conn) writeAll(b []byte, gate func() error) (int, error) {
	begun := time.Now()
	timeout := c.opts.Timing.Write
	written := 0
	for written < len(b) {
		// The process may be suspended at any time. The deadline starts before the call of the gate, so that the
		// result of the gate is not used too late during a slow write.
		slice := time.Now().Add(max(timeout/10, time.Millisecond))
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
		// It fails only if the connection has ended, as the write does.
		_ = c.nc.SetWriteDeadline(slice)
		n, err := c.nc.Write(b[written:])
		written += n
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			c.Close(err)
			return written, ErrClosed
		case time.Since(begun) >= timeout:
			c.Close(errSlow)
			return written, errSlow
		}
	}
	return written, nil
}

// batch is a reusable buffer of frames that are written together.
type batch struct {
	bytes  []byte
	frames []outgoing
}

// gather takes first and further frames from queue until batchLen is reached.
func (b *batch) gather(first outgoing, queue <-chan outgoing) {
	if cap(b.bytes) > keepLen {
		b.bytes = nil
	}
	b.bytes, b.frames = b.bytes[:0], b.frames[:0]
	for o := first; ; {
		b.bytes = append(b.bytes, o.frame...)
		b.frames = append(b.frames, o)
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

// settle sets the result of each frame from the number of bytes that were passed to the kernel and the error.
func (b *batch) settle(written int, err error) {
	start := 0
	for _, o := range b.frames {
		end := start + len(o.frame)
		switch {
		case end <= written:
			o.result <- nil
		case start < written:
			o.result <- maybeSent(err)
		default:
			o.result <- notSent(err)
		}
		start = end
	}
	clear(b.frames)
}
