// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// attachField is the field number of attach_data in all messages.
const attachField = 20

// exchange is a request and its answer.
type exchange struct {
	request, response wire.Command
	// queue, if set, bounds the wait for the limiter and the writer. After that, the caller's context applies.
	queue context.Context
	// stores: the request changes the store, however late it is executed.
	stores bool
	// group: the request needs two database connections of db_proxy.
	group bool
	// body returns the message of the request with attach_data, or nil if it is not needed any more. It is
	// called after the wait for the limiter.
	body func(attach []byte) proto.Message
	// answer is filled from the response.
	answer proto.Message
	// matches reports whether answer is about the request.
	matches func() bool
	// scan, if set, gets the rows of the answer, which answer may lack then.
	scan Scanner
}

// conn is a connection with its calls in flight.
type conn struct {
	link *link.Conn
	// load counts the calls in flight, and those that are about to be.
	load atomic.Int64
	// overdue counts the calls whose answers are late and that wait for the connection to end. idle wakes
	// them when load or overdue changes.
	overdue atomic.Int64
	idle    chan struct{} // capacity 1
	// changed is called when the connection accepts requests again.
	changed func()
	// draining is guarded by the Client's mu; see takes.
	draining bool

	mu    sync.Mutex
	lost  bool
	calls map[uint16]*call // by seq
}

// takes reports whether the connection accepts requests. It needs the Client's mu.
func (cn *conn) takes() bool { return !cn.draining && cn.overdue.Load() == 0 }

// call is a request in flight. The goroutine that removes it from its connection finishes it, so it has one
// outcome.
type call struct {
	conn    *conn
	handle  uint32
	want    wire.Command
	release func()
	// lasting: db_proxy may work on the call until the connection has ended. limiter is set for calls about
	// groups, on which db_proxy may work longer: their slots are quarantined.
	lasting    bool
	limiter    *Limiter
	quarantine time.Duration
	done       chan outcome // capacity 1
	// scan is that of the exchange. rows gets an answer that is too long to hold. Only the goroutine that
	// reads the connection uses them.
	scan    Scanner
	rows    *rows
	overdue atomic.Bool // counted in conn.overdue
	// deadline is set when the call is abandoned. It is guarded by conn.mu.
	deadline time.Time
}

// outcome is the body of a response, or an error.
type outcome struct {
	body []byte
	// scanned: the scanner has got the rows, which are not in body.
	scanned bool
	err     error
}

// seq is the part of the handle that fits into the header of a PDU.
func (cl *call) seq() uint16 { return uint16(cl.handle) }

// finish sends the outcome to the caller and releases the slot. The call must have been removed from its
// connection.
func (cl *call) finish(o outcome) {
	cl.done <- o
	late := cl.overdue.Load()
	if late {
		// Before load: endOverdue closes a connection with load <= overdue.
		defer cl.conn.changed()
		cl.conn.overdue.Add(-1)
	}
	cl.conn.load.Add(-1)
	cl.conn.wakeOverdue()
	if late && cl.limiter != nil && errors.Is(o.err, ErrConnectionLost) {
		cl.limiter.quarantineSlot(cl.quarantine)
		return
	}
	cl.release()
}

// do sends the request of x on a connection and waits for its answer.
func (p *Path) do(ctx context.Context, x exchange) error {
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
	cl := c.newCall(x, release)
	if err := cn.register(&c.handles, cl); err != nil {
		cn.load.Add(-1)
		release()
		return notSent(err)
	}
	body := x.body(pdu.AttachData(cl.handle))
	if body == nil {
		cn.withdraw(cl, outcome{})
		return notSent(errNoMessage)
	}
	frame, err := pdu.New(x.request, cl.seq(), body)
	if err != nil {
		cn.withdraw(cl, outcome{})
		return notSent(err)
	}
	if err := cn.link.Send(queue, frame.Append(make([]byte, 0, frame.Len()))); err != nil {
		if errors.Is(err, link.ErrNotSent) {
			cn.withdraw(cl, outcome{})
			return err
		}
		if queue.Err() == nil {
			// The write has failed, which ends the connection.
			o := cn.withdraw(cl, outcome{err: ErrConnectionLost})
			return x.conclude(o)
		}
	}
	return x.conclude(c.await(ctx, cl))
}

// newCall returns the call of x. A request that stores something may be executed until its connection has
// ended. A request about a group holds database connections of db_proxy: if its slot were released at
// the timeout, retries would acquire more and more of them, until db_proxy is deadlocked.
func (c *Client) newCall(x exchange, release func()) *call {
	cl := &call{
		want: x.response, scan: x.scan, release: release, lasting: x.stores || x.group, done: make(chan outcome, 1),
	}
	if x.group {
		cl.limiter, cl.quarantine = c.opts.Limiter, quarantineFactor*c.opts.RequestTimeout
	}
	return cl
}

// await waits for the outcome of a call that may have been written. A lasting call ends after its timeout
// with its connection.
func (c *Client) await(ctx context.Context, cl *call) outcome {
	deadline := time.Now().Add(c.opts.RequestTimeout)
	timer := time.NewTimer(c.opts.RequestTimeout)
	defer timer.Stop()
	select {
	case o := <-cl.done:
		return o
	case <-timer.C:
		if cl.lasting {
			return c.awaitClose(ctx, cl)
		}
		return cl.conn.withdraw(cl, outcome{err: ErrNoAnswer})
	case <-ctx.Done():
		// db_proxy may still work on it: it keeps its slot.
		return cl.conn.abandon(cl, deadline, outcome{err: fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())})
	}
}

// conclude parses the outcome into the answer of x.
func (x exchange) conclude(o outcome) error {
	if o.err != nil {
		return o.err
	}
	if err := proto.Unmarshal(o.body, x.answer); err != nil {
		// The error of the parser may quote content.
		return fmt.Errorf("%w: command %#04x does not parse", ErrMalformed, uint16(x.response))
	}
	if !x.matches() {
		return fmt.Errorf("%w: command %#04x is about something else", ErrMalformed, uint16(x.response))
	}
	if !o.scanned {
		x.deliver()
	}
	return nil
}

func notSent(reason error) error { return fmt.Errorf("%w: %w", ErrNotSent, reason) }

// register adds cl with a new handle whose seq no other call has.
func (cn *conn) register(handles *atomic.Uint32, cl *call) error {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.lost {
		return ErrNotConnected
	}
	cl.conn = cn
	for range 1 << 16 {
		cl.handle = handles.Add(1)
		if _, used := cn.calls[cl.seq()]; !used {
			cn.calls[cl.seq()] = cl
			return nil
		}
	}
	return errTooManyHandles
}

// remove removes cl from the calls. It returns false if another goroutine has removed it.
func (cn *conn) remove(cl *call) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.calls[cl.seq()] != cl {
		return false
	}
	delete(cn.calls, cl.seq())
	return true
}

// withdraw finishes cl with o unless it was finished before, and returns its outcome.
func (cn *conn) withdraw(cl *call, o outcome) outcome {
	if cn.remove(cl) {
		cl.finish(o)
	}
	return <-cl.done
}

// abandon leaves cl without a waiting caller until it is answered or expires at the deadline, and returns
// o. If cl has finished, abandon returns its outcome.
func (cn *conn) abandon(cl *call, deadline time.Time, o outcome) outcome {
	cn.mu.Lock()
	inFlight := cn.calls[cl.seq()] == cl
	if inFlight {
		cl.deadline = deadline
	}
	cn.mu.Unlock()
	if inFlight {
		return o
	}
	return <-cl.done
}

// fail finishes all calls when the connection has ended.
func (cn *conn) fail() {
	cn.mu.Lock()
	cn.lost = true
	cn.mu.Unlock()
	cn.finishAll(outcome{err: ErrConnectionLost}, func(*call) bool { return true })
}

// finishAll finishes the calls for which the function returns true.
func (cn *conn) finishAll(o outcome, which func(*call) bool) {
	cn.mu.Lock()
	var selected []*call
	for seq, cl := range cn.calls {
		if which(cl) {
			selected = append(selected, cl)
			delete(cn.calls, seq)
		}
	}
	cn.mu.Unlock()
	for _, cl := range selected {
		cl.finish(o)
	}
}

// answer gives a frame to the call that it answers; false where there is none.
func (cn *conn) answer(p pdu.PDU, err error) bool {
	o := outcome{body: p.Body}
	seq := p.Seq
	var handle uint32
	if err == nil {
		var ok bool
		if handle, ok = handleOf(p.Body); !ok {
			return false
		}
		seq = uint16(handle)
	}
	cn.mu.Lock()
	cl := cn.calls[seq]
	cn.mu.Unlock()
	switch {
	case cl == nil:
		return false
	case err == nil && cl.handle != handle:
		return false
	case p.Command == cl.want && err != nil:
		var mine bool
		if o, mine = cl.streamed(); !mine {
			return false
		}
	case p.Command == cl.want:
	case err != nil:
		// Without a handle, the command must match.
		return false
	default:
		o = outcome{err: fmt.Errorf("%w: command %#04x, want %#04x", ErrMalformed, uint16(p.Command), uint16(cl.want))}
	}
	if !cn.remove(cl) {
		return false
	}
	if cl.limiter != nil {
		cl.limiter.answered()
	}
	cl.finish(o)
	return true
}

// handleOf returns the handle in attach_data of a message. It does not parse the rest of the message, which
// the goroutine of the caller does.
func handleOf(body []byte) (handle uint32, ok bool) {
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			break
		}
		body = body[n:]
		if num == attachField && typ == protowire.BytesType {
			value, n := protowire.ConsumeBytes(body)
			if n < 0 {
				break
			}
			// As always in protobuf, the last one counts.
			handle, ok = pdu.Handle(value)
			body = body[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, body); n < 0 {
			break
		}
		body = body[n:]
	}
	return handle, ok
}
