// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
)

const (
	// frameTime and frameSpeed, in bytes per second, bound the time in which an answer must arrive that takes memory
	// of others meanwhile. Answers of 400 KiB arrive in milliseconds.
	frameTime  = time.Second
	frameSpeed = 512 << 10
)

// Frame implements link.Handler: it gives the frame to the call that it answers. Late and repeated answers, and what
// db_proxy sends unasked, are skipped.
func (cn *conn) Frame(f *pdu.Frame) {
	if body, ok := f.Small(); ok {
		cn.receiveSmall(f, body)
		return
	}
	// The handle is at the end. Until then, seq and command have to match.
	cl := cn.call(f.Seq)
	if cl == nil || cl.want() != f.Command {
		return
	}
	if o, ok := cl.receive(f); ok {
		cl.answered(o)
	}
}

// receiveSmall matches a frame by its handle alone.
func (cn *conn) receiveSmall(f *pdu.Frame, body []byte) {
	handle, ok := pdu.HandleOf(body)
	if !ok {
		return
	}
	cl := cn.call(uint16(handle))
	switch {
	case cl == nil || cl.handle != handle:
	case cl.want() != f.Command:
		cl.answered(outcome{err: fmt.Errorf("%w: command %#04x, want %#04x",
			ErrMalformed, uint16(f.Command), uint16(cl.want()))})
	default:
		// The goroutine of the caller parses it.
		cl.answered(outcome{body: bytes.Clone(body)})
	}
}

// answered finishes the call with an answer, unless it is finished.
func (cl *call) answered(o outcome) {
	if !cl.conn.remove(cl) {
		return
	}
	cl.conn.client.opts.Limiter.answered(cl)
	cl.finish(o)
}

// receive reads an answer that is not small. It returns false if the answer is another call's, or the connection
// has ended.
func (cl *call) receive(f *pdu.Frame) (outcome, bool) {
	cl.receiving.Lock()
	defer cl.receiving.Unlock()
	switch {
	case cl.scan != nil, cl.unused != 0:
		return cl.receiveFields(f)
	case f.Len > cl.limit:
		return outcome{err: ErrTooLong}, true
	}
	release, ok := cl.conn.reserve(cl.ctx, f.Len)
	if !ok {
		return outcome{err: fmt.Errorf("%w: %w", ErrNoAnswer, errNoMemory)}, true
	}
	defer release()
	body, err := f.Hold()
	switch {
	case errors.Is(err, link.ErrSlowFrame):
		return outcome{err: fmt.Errorf("%w: %w", ErrNoAnswer, err)}, true
	case err != nil:
		return outcome{}, false
	}
	if handle, ok := pdu.HandleOf(body); !ok || handle != cl.handle {
		return outcome{}, false
	}
	return outcome{parsed: true, err: cl.parse(body)}, true
}

// reserve reserves memory for reading length bytes, and bounds the time in which they must arrive. It returns false
// if no memory is free in time.
func (cn *conn) reserve(ctx context.Context, length int) (release func(), ok bool) {
	if release, ok = cn.client.memory.acquire(ctx, length); ok {
		cn.link.ReadBefore(time.Now().Add(frameTime + time.Duration(length)*time.Second/frameSpeed))
	}
	return release, ok
}
