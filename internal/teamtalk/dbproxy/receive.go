// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
func (cn *conn) Frame(f *pdu.Frame) (asked bool) {
	if cn.isIdle() {
		return false
	}
	if body, ok := f.Small(); ok {
		return cn.receiveSmall(f, body)
	}
	// The handle is at the end. Until then, seq and command have to match.
	cl := cn.call(f.Seq)
	if cl == nil || cl.want() != f.Command {
		return false
	}
	cl.arriving.Store(true)
	o, ok := cl.receive(f)
	if ok {
		cl.answered(o)
	}
	return ok
}

// receiveSmall matches a frame by its handle alone.
func (cn *conn) receiveSmall(f *pdu.Frame, body []byte) (asked bool) {
	handle, ok := pdu.HandleOf(body)
	if !ok {
		return false
	}
	cl := cn.call(uint16(handle))
	switch {
	case cl == nil || cl.handle != handle:
		return false
	case cl.want() != f.Command:
		cl.answered(outcome{err: fmt.Errorf("%w: command %#04x, want %#04x",
			ErrMalformed, uint16(f.Command), uint16(cl.want()))})
	default:
		// The goroutine of the caller parses it.
		cl.answered(outcome{body: bytes.Clone(body)})
	}
	return true
}

// answered finishes the call with an answer, unless it is finished.
func (cl *call) answered(o outcome) {
	if !cl.conn.remove(cl) {
		return
	}
	cl.conn.share.limiter.answered(cl)
	cl.finish(o)
}

// receive reads an answer that is not small. It returns false if the answer is another call's, or the connection
// has ended.
func (cl *call) receive(f *pdu.Frame) (outcome, bool) {
	switch {
	case cl.scan != nil, cl.unused != 0:
		return cl.receiveFields(f)
	case f.Len > min(cl.limit, maxAnswer):
		return outcome{err: ErrTooLong}, true
	}
	body, release, err := cl.hold(f, f.Left(), parsedSize)
	defer release()
	switch {
	case errors.Is(err, link.ErrSlowFrame):
		return outcome{err: fmt.Errorf("%w: %w", ErrNoAnswer, err)}, true
	case errors.Is(err, ErrNoMemory):
		return outcome{err: err}, true
	case err != nil:
		return outcome{}, false
	}
	if handle, ok := pdu.HandleOf(body); !ok || handle != cl.handle {
		return outcome{}, false
	}
	return outcome{parsed: true, err: cl.parse(body)}, true
}

// hold reads length bytes. Their memory, times a factor, is reserved as they arrive. They must arrive in time. The
// time in which they wait for memory does not count. The caller calls release in any case.
func (cl *call) hold(f *pdu.Frame, length, factor int) (body []byte, release func(), err error) {
	client := cl.conn.client
	r := &reservation{memory: client.opts.Memory, tenant: client.opts.Quota.Tenant}
	end := time.Now().Add(frameTime + time.Duration(length)*time.Second/frameSpeed)
	for len(body) < length {
		n := min(length-len(body), memoryChunk)
		if !r.grow(cl.ctx, n*factor) {
			return nil, r.release, ErrNoMemory
		}
		cl.conn.link.ReadBefore(end.Add(r.waited))
		if len(body)+n > cap(body) {
			grown := make([]byte, len(body), min(length, max(2*cap(body), n)))
			copy(grown, body)
			body = grown
		}
		body = body[:len(body)+n]
		if _, err := io.ReadFull(f, body[len(body)-n:]); err != nil {
			return nil, r.release, err
		}
	}
	return body, r.release, nil
}
