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

// attachField is the number of attach_data in every message that has it.
const attachField = 20

// exchange is a request and what answers it.
type exchange struct {
	request, response wire.Command
	// queue, where set, bounds the wait for its turn and for the writer; once that
	// has taken it, the caller's context alone counts.
	queue context.Context
	// stores: it may leave something behind, however late it is executed.
	stores bool
	// group: db_proxy takes two of its database connections for it.
	group bool
	// body returns the request's message, around the attach_data given; nil where
	// there is none any more. It is called when the request has its turn.
	body func(attach []byte) proto.Message
	// answer is filled from the response.
	answer proto.Message
	// matches reports whether answer is about what was asked.
	matches func() bool
	// scan, where set, takes the answer's rows, which answer may lack then.
	scan Scanner
}

// conn is a connection and the calls that wait on it.
type conn struct {
	link *link.Conn
	// load counts the calls that are to be, or are, under way.
	load atomic.Int64
	// overdue counts those whose answer is late, and that wait for the connection
	// to end; idle wakes them when either number changes.
	overdue atomic.Int64
	idle    chan struct{} // of one
	// changed is told where it takes requests again.
	changed func()
	// draining is guarded by the Client's mu; see takes.
	draining bool

	mu    sync.Mutex
	lost  bool
	calls map[uint16]*call // by seq
}

// takes reports whether the connection takes requests. It needs the Client's mu.
func (cn *conn) takes() bool { return !cn.draining && cn.overdue.Load() == 0 }

// call is one request that is under way. Whoever takes it out of its
// connection's calls finishes it: there is one outcome.
type call struct {
	conn    *conn
	handle  uint32
	want    wire.Command
	release func()
	// lasting: until the connection has ended, db_proxy is taken to be busy with it,
	// however late it is. What touches a group has a limiter: db_proxy is taken to be
	// busy with it for longer, rest at least.
	lasting bool
	limiter *Limiter
	rest    time.Duration
	done    chan outcome // of one
	// scan is the exchange's; rows takes an answer that is too long to hold. Only the
	// goroutine that reads the connection uses them.
	scan    Scanner
	rows    *rows
	overdue atomic.Bool // counted in its connection's overdue
	// deadline is set where nobody waits any more; guarded by conn.mu.
	deadline time.Time
}

// outcome is what became of a call: a response's body, or an error.
type outcome struct {
	body []byte
	// scanned: the rows of the response are not in the body, but with the scanner.
	scanned bool
	err     error
}

// seq is what of the handle fits into a PDU's header.
func (cl *call) seq() uint16 { return uint16(cl.handle) }

// finish tells the caller, if there still is one, and frees the slot. The
// caller of finish has taken cl out of its connection's calls.
func (cl *call) finish(o outcome) {
	cl.done <- o
	late := cl.overdue.Load()
	if late {
		// First: a connection with fewer under way than overdue is ended.
		defer cl.conn.changed()
		cl.conn.overdue.Add(-1)
	}
	cl.conn.load.Add(-1)
	cl.conn.wakeOverdue()
	if late && cl.limiter != nil && errors.Is(o.err, ErrConnectionLost) {
		cl.limiter.rest(cl.rest)
		return
	}
	cl.release()
}

// do carries out x on one connection and waits for its answer.
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
			// The write failed, and with it the connection.
			o := cn.withdraw(cl, outcome{err: ErrConnectionLost})
			return x.conclude(o)
		}
	}
	return x.conclude(c.await(ctx, cl))
}

// newCall returns the call of x. What stores something may do so at any time until
// its connection is gone. What touches a group holds db_proxy's database
// connections: were its slot given back at its timeout, a client that tries again
// would have more and more of them asked for, until db_proxy has none left for good.
func (c *Client) newCall(x exchange, release func()) *call {
	cl := &call{want: x.response, scan: x.scan, release: release, lasting: x.stores || x.group, done: make(chan outcome, 1)}
	if x.group {
		cl.limiter, cl.rest = c.opts.Limiter, quarantineFactor*c.opts.RequestTimeout
	}
	return cl
}

// await waits for the outcome of a call that was written, or may have been. One
// that is lasting outlasts its timeout no longer than its connection.
func (c *Client) await(ctx context.Context, cl *call) outcome {
	deadline := time.Now().Add(c.opts.RequestTimeout)
	timer := time.NewTimer(c.opts.RequestTimeout)
	defer timer.Stop()
	select {
	case o := <-cl.done:
		return o
	case <-timer.C:
		if cl.lasting {
			return c.retire(ctx, cl)
		}
		return cl.conn.withdraw(cl, outcome{err: ErrNoAnswer})
	case <-ctx.Done():
		// db_proxy is still busy with it: it keeps its slot.
		return cl.conn.abandon(cl, deadline, outcome{err: fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())})
	}
}

// conclude fills x's answer from the outcome.
func (x exchange) conclude(o outcome) error {
	if o.err != nil {
		return o.err
	}
	if err := proto.Unmarshal(o.body, x.answer); err != nil {
		// The parser's error may quote what it read.
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

// register adds cl under a fresh handle whose seq no other call has.
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

// take removes cl from the calls; false where somebody else did.
func (cn *conn) take(cl *call) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.calls[cl.seq()] != cl {
		return false
	}
	delete(cn.calls, cl.seq())
	return true
}

// withdraw finishes cl with o, unless it was finished before, and returns how
// it ended.
func (cn *conn) withdraw(cl *call, o outcome) outcome {
	if cn.take(cl) {
		cl.finish(o)
	}
	return <-cl.done
}

// abandon leaves cl to be answered, or to expire at deadline, with nobody
// waiting, and returns o; or how it ended, where it has.
func (cn *conn) abandon(cl *call, deadline time.Time, o outcome) outcome {
	cn.mu.Lock()
	under := cn.calls[cl.seq()] == cl
	if under {
		cl.deadline = deadline
	}
	cn.mu.Unlock()
	if under {
		return o
	}
	return <-cl.done
}

// lose finishes everything: the connection has ended.
func (cn *conn) lose() {
	cn.mu.Lock()
	cn.lost = true
	cn.mu.Unlock()
	cn.finishAll(outcome{err: ErrConnectionLost}, func(*call) bool { return true })
}

// finishAll finishes the calls that which selects.
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
		// Without a handle only the command tells whose it is.
		return false
	default:
		o = outcome{err: fmt.Errorf("%w: command %#04x, want %#04x", ErrMalformed, uint16(p.Command), uint16(cl.want))}
	}
	if !cn.take(cl) {
		return false
	}
	if cl.limiter != nil {
		cl.limiter.answered()
	}
	cl.finish(o)
	return true
}

// handleOf returns the handle in a message's attach_data. It looks at no more
// of the message than it must: parsing is the caller's work, not the reader's.
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
			// As in any protobuf message, the last one counts.
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
