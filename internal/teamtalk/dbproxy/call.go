// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
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
	// stores is true if the request changes the store, even if it is executed late.
	stores bool
	// queued, if set, is called if no slot is free for the request. It must not block.
	queued func()
	// repeats: it is a read that is answered within a time, however much is stored. One that others overtake, and that
	// is not answered by then, is sent again.
	repeats bool
	within  time.Duration
	// late, if set, is called once if the answer does not come in the usual time. It must not block.
	late func()
	// group: the request needs two database connections of db_proxy.
	group bool
	// message is the request without attach_data. If build is set, it returns the message after the wait for
	// the limiter, or nil if it is not needed any more.
	message proto.Message
	build   func() proto.Message
	// answer is filled from the response. It may change until the request has an outcome.
	answer proto.Message
	// matches reports whether answer is about the request.
	matches func() bool
	// limit is the length of the longest answer, in bytes, of which more than rest is read.
	limit int
	// rows is the highest number of elements in the answer's repeated field: the number that was requested.
	rows int
	// scan, if set, gets the rows of an answer over pdu.MaxSmall: the elements of scanField, of up to maxRow bytes each.
	// Then scanned is set, and answer lacks the rows.
	scan      rowScanner
	scanField protowire.Number
	maxRow    int
	scanned   bool
	// reduce, if set, drops unneeded parts of a parsed answer while its memory is reserved.
	reduce func(answer proto.Message)
	// unused, if set, is a field that is not read in an answer over pdu.MaxSmall.
	unused protowire.Number
}

// call is a request in flight. The goroutine that removes it from its connection finishes it, so it has one
// outcome.
type call struct {
	*exchange
	// ctx is the caller's context.
	ctx    context.Context
	conn   *conn
	handle uint32
	// slot may be returned early, see lateCalls.
	slot *slot
	done chan outcome // capacity 1
	// overdue is set if the call was not answered in time and waits for the end of the connection. It is
	// guarded by conn.mu until the call is removed. db_proxy may work on a call that stores until the connection
	// has ended, and on one about a group even longer.
	overdue bool
	// began is before the request is written.
	began time.Time
	// isLate: it is counted as late by its connection. conn.mu guards it.
	isLate bool
	// arriving: its answer is being read.
	arriving atomic.Bool
	// These are of a late call, and guarded by the Limiter's mu. written is after the request was written; early: its
	// slot was released before its end. overtaken is closed when wasOvertaken is set.
	written             time.Time
	overtaken           chan struct{}
	wasOvertaken, early bool
}

// want is the expected command of the answer.
func (cl *call) want() wire.Command { return cl.request.Answer() }

// outcome is the body of a response, or an error.
type outcome struct {
	body []byte
	// parsed: exchange.answer has been filled, and there is no body.
	parsed bool
	// scanned: the scanner has got the rows, which are not in body.
	scanned bool
	// silent: the connection was closed because db_proxy had sent nothing on it for long. It may hang.
	silent bool
	err    error
}

// seq is the part of the handle that fits into the header of a PDU.
func (cl *call) seq() uint16 { return uint16(cl.handle) }

// do sends the request of x on a connection and waits for its answer.
func (p *Path) do(ctx context.Context, x *exchange) error {
	cl, err := p.write(ctx, x)
	if err != nil {
		return err
	}
	return x.conclude(p.await(ctx, cl))
}

// read is do for requests that repeat: build returns one for each try.
func (p *Path) read(ctx context.Context, build func() *exchange) error {
	for n := 1; ; n++ {
		x := build()
		x.repeats = n < maxReads
		if err := p.do(ctx, x); !errors.Is(err, errOvertaken) {
			return err
		}
	}
}

// write sends the request of x on a connection. If it returns an error, no byte was written.
func (p *Path) write(ctx context.Context, x *exchange) (*call, error) {
	queue := ctx
	if x.queue != nil {
		queue = x.queue
	}
	cn, slot, err := p.acquire(queue, x)
	if err != nil {
		return nil, notSent(err)
	}
	cl := &call{exchange: x, ctx: ctx, conn: cn, slot: slot, done: make(chan outcome, 1), began: time.Now()}
	if err := cn.register(cl); err != nil {
		cn.leave()
		slot.release()
		return nil, notSent(err)
	}
	frame, err := x.frame(cl.handle)
	if err != nil {
		cl.end(nil)
		return nil, notSent(err)
	}
	if err := cn.link.Send(queue, frame.Append(make([]byte, 0, frame.Len()))); err != nil {
		if errors.Is(err, link.ErrNotSent) {
			cl.end(nil)
			return nil, err
		}
		if queue.Err() == nil {
			// The write has failed, which ends the connection.
			cl.end(ErrConnectionLost)
		}
	}
	return cl, nil
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

// await waits for the outcome of a call that may have been written. If the call is late, the caller is notified.
func (p *Path) await(ctx context.Context, cl *call) outcome {
	limiter, written := cl.conn.share.limiter, time.Now()
	expiry := time.AfterFunc(p.client.opts.RequestTimeout, cl.expire)
	late := make(chan (<-chan struct{}), 1)
	lateness := time.AfterFunc(limiter.lateAfter(cl.group), func() {
		late <- limiter.becomesLate(cl, written)
		cl.conn.noteLate(cl)
	})
	var overtaken <-chan struct{}
	var again <-chan time.Time
	for {
		select {
		case o := <-cl.done:
			expiry.Stop()
			lateness.Stop()
			return o
		case overtaken = <-late:
			if cl.late != nil {
				cl.late()
			}
		case <-overtaken:
			overtaken = nil
			switch {
			case cl.repeats:
				again = time.After(cl.within - time.Since(written))
			case cl.stores && expiry.Stop():
				expiry.Reset(p.client.opts.RequestTimeout/overtakenPart - time.Since(written))
			}
		case <-again:
			if again = nil; !cl.arriving.Load() {
				// As below: it counts until it is answered or expires.
				return outcome{err: errOvertaken}
			}
		case <-ctx.Done():
			select {
			case o := <-cl.done:
				return o
			default:
				// db_proxy may still work on it: it keeps its slot until it is answered or expires. One about a group is
				// late even without its caller: it may have the only slot, and its thread may hang.
				if !cl.group {
					lateness.Stop()
				}
				return outcome{err: fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())}
			}
		}
	}
}

// expire ends a call that was not answered in time. One that stores something may be executed until its connection has
// ended. One about a group that no other has overtaken holds database connections of db_proxy. If its slot were
// released at the timeout, retries would acquire more and more of them, until db_proxy is deadlocked. So both end with
// their connection, which is replaced, accepts no more requests and is closed after its other calls.
func (cl *call) expire() {
	cn := cl.conn
	if !cl.stores && (!cl.group || cn.share.limiter.isOvertaken(cl)) {
		cl.end(ErrNoAnswer)
		return
	}
	cn.mu.Lock()
	inFlight := cn.calls[cl.seq()] == cl
	if inFlight {
		cl.overdue = true
		cn.overdue.Add(1)
	}
	cn.mu.Unlock()
	if inFlight {
		cn.replace()
		cn.client.opts.OnChange()
		cn.closeUnused()
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
	lost := errors.Is(o.err, ErrConnectionLost)
	hangs := lost && (cl.overdue || o.silent)
	if lost && cl.overdue {
		o.err = ErrNoAnswer
	}
	cl.done <- o
	if cl.overdue {
		// Before load: closeUnused closes a connection with load <= overdue.
		cl.conn.overdue.Add(-1)
		defer c.opts.OnChange()
	}
	if cl.isLate {
		cl.conn.late.Add(-1)
		defer cl.conn.share.limiter.ends(cl)
	}
	cl.conn.leave()
	if hangs && cl.group {
		cl.conn.share.limiter.quarantineSlot(quarantineFactor*c.opts.RequestTimeout, cl)
		return
	}
	cl.slot.release()
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
		return fmt.Errorf("%w: command %#04x does not match the request", ErrMalformed, uint16(x.request.Answer()))
	}
	return nil
}

// parse parses the body of an answer.
func (x *exchange) parse(body []byte) error {
	if err := wire.Unmarshal(body, x.answer, x.rows); err != nil {
		// The error of the parser may quote content.
		return fmt.Errorf("%w: command %#04x does not parse", ErrMalformed, uint16(x.request.Answer()))
	}
	if x.reduce != nil {
		x.reduce(x.answer)
	}
	return nil
}

func notSent(reason error) error { return fmt.Errorf("%w: %w", ErrNotSent, reason) }
