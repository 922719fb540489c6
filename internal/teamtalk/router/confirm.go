// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"fmt"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// confirmTimeout bounds the wait for an answer. A route_server answers at once.
const confirmTimeout = 5 * time.Second

// errUnconfirmed is an ErrMaybeSent.
var errUnconfirmed = fmt.Errorf("%w: the connection was lost before the router confirmed the message", ErrMaybeSent)

// ping is a request for the presence of a user. A router handles the PDUs of a connection in order. So its answer
// proves that it has relayed the messages before the ping. It also proves that the connection was not dead.
type ping struct {
	about  uint32 // a user
	handle uint32
	// err is set before done is closed.
	err  error
	done chan struct{}
}

func (q *ping) settle(err error) {
	q.err = err
	close(q.done)
}

// confirm waits until the router has read everything that was sent on the connection. It returns ErrMaybeSent if
// the connection ends before, and nil if the router does not answer pings.
func (cn *conn) confirm(ctx context.Context, about uint32) error {
	c := cn.client
	c.mu.Lock()
	if c.conn != cn {
		c.mu.Unlock()
		return errUnconfirmed
	}
	if cn.noPings {
		c.mu.Unlock()
		return nil
	}
	q := cn.next
	if q == nil { // else the next ping confirms this message too
		c.handles++
		q = &ping{about: about, handle: c.handles, done: make(chan struct{})}
		cn.next = q
		cn.sendPing()
	}
	c.mu.Unlock()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrMaybeSent, ctx.Err())
	}
}

// Ping asks the router for the presence of a user, and reports whether it has answered. Nothing is relayed.
func (c *Client) Ping(ctx context.Context, about uint32) (answered bool, err error) {
	c.mu.Lock()
	cn := c.conn
	c.mu.Unlock()
	if cn == nil {
		return false, fmt.Errorf("%w: %w", ErrNotSent, ErrNotConnected)
	}
	if err := cn.confirm(ctx, about); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hasAnswered, nil
}

// sendPing sends the next ping, unless one is in flight: an earlier ping does not confirm later messages. It
// needs mu.
func (cn *conn) sendPing() {
	if cn.inFlight != nil || cn.next == nil {
		return
	}
	q := cn.next
	cn.inFlight, cn.next = q, nil
	cn.client.goroutines.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
		defer cancel()
		request := &wire.IMUsersStatReq{UserId: &q.about, UserIdList: []uint32{q.about}, AttachData: pdu.AttachData(q.handle)}
		p, err := pdu.New(wire.CommandUsersStatReq, uint16(q.handle), request)
		if err == nil {
			err = cn.link.Send(ctx, p.Append(nil))
		}
		if err != nil {
			cn.finish(q, errUnconfirmed)
			return
		}
		select {
		case <-q.done:
		case <-ctx.Done():
			cn.timeout(q)
		}
	})
}

// finish settles q, if it is in flight, and sends the next ping.
func (cn *conn) finish(q *ping, err error) {
	cn.client.mu.Lock()
	defer cn.client.mu.Unlock()
	if cn.inFlight != q {
		return
	}
	q.settle(err)
	cn.inFlight = nil
	cn.sendPing()
}

// timeout handles a router that has not answered in time. If it has answered before, its connection is closed, and
// the messages on it may be lost. Otherwise the router is assumed not to support pings, and messages
// count as routed when they are written.
func (cn *conn) timeout(q *ping) {
	c := cn.client
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case cn.inFlight != q:
	case c.hasAnswered:
		cn.link.Close(errUnconfirmed)
	default:
		c.opts.Log.Info("the router does not answer pings: messages count as routed when they are written",
			"address", c.opts.Address)
		cn.noPings = true
		cn.settle(nil)
	}
}

// settle settles all pings. It needs mu.
func (cn *conn) settle(err error) {
	for _, q := range []*ping{cn.inFlight, cn.next} {
		if q != nil {
			q.settle(err)
		}
	}
	cn.inFlight, cn.next = nil, nil
}

// handleAnswer handles the answer to a ping. It ignores other answers. Only the handle of an answer is of use.
func (cn *conn) handleAnswer(body []byte) {
	handle, ok := pdu.HandleOf(body)
	c := cn.client
	c.mu.Lock()
	q := cn.inFlight
	mine := ok && q != nil && q.handle == handle
	c.hasAnswered = c.hasAnswered || mine
	c.mu.Unlock()
	if mine {
		cn.finish(q, nil)
	}
}
