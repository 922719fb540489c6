// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
)

// errOverdue is the cause of closing a connection with an overdue call.
var errOverdue = errors.New("a request was not answered in time")

// conn is a connection with its calls in flight.
type conn struct {
	client *Client
	link   *link.Conn
	// load counts the calls in flight, and those that are about to be. overdue counts the calls that wait for
	// the end of the connection.
	load, overdue atomic.Int64
	// draining is guarded by the Client's mu; see takes.
	draining bool

	mu    sync.Mutex
	calls map[uint16]*call // by seq; nil after the end of the connection
}

var _ link.Handler = (*conn)(nil)

// takes reports whether the connection accepts requests. It needs the Client's mu.
func (cn *conn) takes() bool { return !cn.draining && cn.overdue.Load() == 0 }

// leave undoes the count of a call.
func (cn *conn) leave() {
	cn.load.Add(-1)
	cn.closeOverdue()
}

// closeOverdue closes the connection if all of its calls are overdue.
func (cn *conn) closeOverdue() {
	if n := cn.overdue.Load(); n > 0 && cn.load.Load() <= n {
		cn.link.Close(errOverdue)
	}
}

// register adds cl with a new handle whose seq no other call has.
func (cn *conn) register(cl *call) error {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.calls == nil {
		return ErrNotConnected
	}
	for range 1 << 16 {
		cl.handle = cn.client.handles.Add(1)
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

// call returns the call in flight with the seq, or nil.
func (cn *conn) call(seq uint16) *call {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return cn.calls[seq]
}

// Draining implements link.Handler.
func (cn *conn) Draining() {
	cn.client.mu.Lock()
	cn.draining = true
	cn.client.mu.Unlock()
	cn.client.opts.OnChange()
}

// Down implements link.Handler.
func (cn *conn) Down(err error) {
	c := cn.client
	c.mu.Lock()
	usable := cn.takes()
	delete(c.conns, cn)
	c.mu.Unlock()
	if e, ok := errors.AsType[*pdu.LengthError](err); ok && e.Length > pdu.MaxSkip {
		// Only the request with this answer fails with ErrTooLong; the others may be retried.
		if cl := cn.call(e.PDU.Seq); cl != nil && cl.want() == e.PDU.Command {
			cl.answered(outcome{err: ErrTooLong})
		}
	}
	cn.mu.Lock()
	calls := cn.calls
	cn.calls = nil
	cn.mu.Unlock()
	for _, cl := range calls {
		cl.finish(outcome{err: ErrConnectionLost})
	}
	if usable {
		c.opts.OnChange()
	}
}
