// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// exchange is a request and its answer.
type exchange struct {
	request wire.Command
	// queue, if set, bounds the wait for the limiter and the writer. After that, the caller's context applies.
	queue context.Context
	// stores: the request changes the store, however late it is executed.
	stores bool
	// group: the request needs two database connections of db_proxy.
	group bool
	// message is the request without attach_data. If build is set, it returns the message after the wait for
	// the limiter, or nil if it is not needed any more.
	message proto.Message
	build   func() proto.Message
	// answer is filled from the response. It may change as long as the request has no outcome.
	answer proto.Message
	// matches reports whether answer is about the request.
	matches func() bool
	// limit is the length of the longest answer, in bytes, of which more than rest is read.
	limit int
	// rows is the highest number of elements in the answer's repeated field: of what was asked for.
	rows int
	// scan, if set, gets the rows of an answer over pdu.MaxSmall. Then scanned is set, and answer lacks the rows.
	scan    Scanner
	scanned bool
	// unused, if set, is a field that is not read in an answer over pdu.MaxSmall.
	unused protowire.Number
}

// call is a request in flight. The goroutine that removes it from its connection finishes it, so it has one
// outcome.
type call struct {
	*exchange
	// ctx is that of the caller.
	ctx     context.Context
	conn    *conn
	handle  uint32
	release func()
	done    chan outcome // capacity 1
	// overdue is set if the call was not answered in time and waits for the end of the connection. It is
	// guarded by conn.mu until the call is removed. db_proxy may work on a call that stores until the connection
	// has ended, and on one about a group even longer.
	overdue bool
}

// want is the command of the answer.
func (cl *call) want() wire.Command { return cl.request.Answer() }

// outcome is the body of a response, or an error.
type outcome struct {
	body []byte
	// parsed: exchange.answer has been filled, and there is no body.
	parsed bool
	// scanned: the scanner has got the rows, which are not in body.
	scanned bool
	err     error
}

// seq is the part of the handle that fits into the header of a PDU.
func (cl *call) seq() uint16 { return uint16(cl.handle) }

// do sends the request of x on a connection and waits for its answer.
func (p *Path) do(ctx context.Context, x *exchange) error {
	c := p.client
	if c.Connected() == 0 {
		return notSent(ErrNotConnected)
	}
	queue := ctx
	if x.queue != nil {
		queue = x.queue
	}
	release, err := c.opts.Limiter.Acquire(queue, x.group)
	if err != nil {
		return notSent(err)
	}
	cn := p.pick()
	if cn == nil {
		release()
		return notSent(ErrNotConnected)
	}
	cl := &call{exchange: x, ctx: ctx, conn: cn, release: release, done: make(chan outcome, 1)}
	if err := cn.register(cl); err != nil {
		cn.leave()
		release()
		return notSent(err)
	}
	frame, err := x.frame(cl.handle)
	if err != nil {
		cl.end(nil)
		return notSent(err)
	}
	if err := cn.link.Send(queue, frame.Append(make([]byte, 0, frame.Len()))); err != nil {
		if errors.Is(err, link.ErrNotSent) {
			cl.end(nil)
			return err
		}
		if queue.Err() == nil {
			// The write has failed, which ends the connection.
			cl.end(ErrConnectionLost)
		}
	}
	return x.conclude(cl.await(ctx))
}

// frame returns the request with the handle in attach_data.
func (x *exchange) frame(handle uint32) (pdu.PDU, error) {
	message := x.message
	if x.build != nil {
		message = x.build()
	}
	if message == nil {
		return pdu.PDU{}, errNoMessage
	}
	p, err := pdu.New(x.request, uint16(handle), message)
	p.Body = pdu.AppendHandle(p.Body, handle)
	return p, err
}

// await waits for the outcome of a call that may have been written.
func (cl *call) await(ctx context.Context) outcome {
	expiry := time.AfterFunc(cl.conn.client.opts.RequestTimeout, cl.expire)
	select {
	case o := <-cl.done:
		expiry.Stop()
		return o
	case <-ctx.Done():
	}
	select {
	case o := <-cl.done:
		return o
	default:
		// db_proxy may still work on it: it keeps its slot until it is answered or expires.
		return outcome{err: fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())}
	}
}

// expire ends a call that was not answered in time. One that stores something may be executed until its
// connection has ended. One about a group holds database connections of db_proxy: if its slot were released at
// the timeout, retries would acquire more and more of them, until db_proxy is deadlocked. So both end with their
// connection, which accepts no more requests and is closed after its other calls.
func (cl *call) expire() {
	if !cl.stores && !cl.group {
		cl.end(ErrNoAnswer)
		return
	}
	cn := cl.conn
	cn.mu.Lock()
	inFlight := cn.calls[cl.seq()] == cl
	if inFlight {
		cl.overdue = true
		cn.overdue.Add(1)
	}
	cn.mu.Unlock()
	if inFlight {
		cn.client.opts.OnChange()
		cn.closeOverdue()
	}
}

// end finishes the call with err, unless it is finished.
func (cl *call) end(err error) {
	if cl.conn.remove(cl) {
		cl.finish(outcome{err: err})
	}
}

// finish sends the outcome to the caller and releases the slot. The call must have been removed from its
// connection.
func (cl *call) finish(o outcome) {
	c := cl.conn.client
	lost := cl.overdue && errors.Is(o.err, ErrConnectionLost)
	if lost {
		o.err = ErrNoAnswer
	}
	cl.done <- o
	if cl.overdue {
		// Before load: closeOverdue closes a connection with load <= overdue.
		cl.conn.overdue.Add(-1)
		defer c.opts.OnChange()
	}
	cl.conn.leave()
	if lost && cl.group {
		c.opts.Limiter.quarantineSlot(quarantineFactor * c.opts.RequestTimeout)
		return
	}
	cl.release()
}

// conclude parses the outcome into the answer of x.
func (x *exchange) conclude(o outcome) error {
	if o.err != nil {
		return o.err
	}
	if !o.parsed {
		if err := x.parse(o.body); err != nil {
			return err
		}
	}
	x.scanned = o.scanned
	if !x.matches() {
		return fmt.Errorf("%w: command %#04x is about something else", ErrMalformed, uint16(x.request.Answer()))
	}
	return nil
}

// parse parses the body of an answer.
func (x *exchange) parse(body []byte) error {
	if err := wire.Unmarshal(body, x.answer, x.rows); err != nil {
		// The error of the parser may quote content.
		return fmt.Errorf("%w: command %#04x does not parse", ErrMalformed, uint16(x.request.Answer()))
	}
	return nil
}

func notSent(reason error) error { return fmt.Errorf("%w: %w", ErrNotSent, reason) }
