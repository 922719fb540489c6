// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
)

// Causes of closing a connection: it has an overdue call, or another one has taken its place because of a late call.
var (
	errOverdue  = errors.New("a request was not answered in time")
	errReplaced = errors.New("replaced, after a request was not answered in time")
)

// conn is a connection with its calls in flight.
type conn struct {
	client *Client
	link   *link.Conn
	// share is that of the db_proxy that the connection is to.
	share *share
	// replaced gets the connection when another one is to take its place. After that, abandon ends its link with it.
	replaced chan<- *conn
	abandon  context.CancelFunc
	// load counts the calls in flight, and those that are about to be. late counts those that are not answered in the
	// usual time, and overdue those that wait for the end of the connection.
	load, late, overdue atomic.Int64
	// paths counts those that are open. It grows with the Client's mu.
	paths atomic.Int64
	// retired: another connection has taken its place. Only its paths use it. It is set with the Client's mu.
	retired atomic.Bool
	// draining and replacing are guarded by the Client's mu. replacing: another connection is dialed to take its place.
	draining, replacing bool

	mu    sync.Mutex
	calls map[uint16]*call // by seq; nil after the end of the connection
}

var _ link.Handler = (*conn)(nil)

// takes reports whether the connection accepts requests. It needs the Client's mu.
func (cn *conn) takes() bool { return cn.takesOfPath() && !cn.retired.Load() }

// takesOfPath reports whether the connection accepts requests of the paths that are open. It needs the Client's mu.
func (cn *conn) takesOfPath() bool {
	_, open := cn.client.conns[cn]
	return open && !cn.draining && cn.overdue.Load() == 0
}

// leave decrements the count of a call.
func (cn *conn) leave() {
	cn.load.Add(-1)
	cn.closeUnused()
}

// closeUnused closes the connection if all of its calls are overdue, or it was replaced and has neither calls nor
// paths. A replaced one gets no more paths, and each call ends or is overdue after the request timeout.
func (cn *conn) closeUnused() {
	// In this order: after them no path is added, and then no call.
	retired, paths, overdue := cn.retired.Load(), cn.paths.Load(), cn.overdue.Load()
	switch {
	case cn.load.Load() > overdue:
	case overdue > 0:
		cn.link.Close(errOverdue)
	case retired && paths == 0:
		cn.link.Close(errReplaced)
	}
}

// noteLate counts a call as late, unless it has ended. The connection itself may be the reason, so others are
// preferred. That of a call that stores something is replaced; its calls and paths go on. A read may be late because
// there is much to read.
func (cn *conn) noteLate(cl *call) {
	cn.mu.Lock()
	inFlight := cn.calls[cl.seq()] == cl
	if inFlight {
		cl.isLate = true
		cn.late.Add(1)
	}
	cn.mu.Unlock()
	switch {
	case !inFlight:
		cn.share.limiter.ends(cl)
	case cl.stores && cn.client.mayReplace():
		cn.replace()
	}
}

// replace has another connection dialed that takes the place of this one.
func (cn *conn) replace() {
	cn.client.mu.Lock()
	defer cn.client.mu.Unlock()
	if _, open := cn.client.conns[cn]; open && !cn.replacing {
		cn.replacing = true
		cn.replaced <- cn // has capacity
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

// isIdle reports whether no call is in flight.
func (cn *conn) isIdle() bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	return len(cn.calls) == 0
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
	c.noteMove(cn)
	if cn.replacing {
		cn.abandon()
	}
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
		cl.finish(outcome{err: ErrConnectionLost, silent: errors.Is(err, link.ErrSilent)})
	}
	cn.share.disconnect()
	if usable {
		c.opts.OnChange()
	}
}
