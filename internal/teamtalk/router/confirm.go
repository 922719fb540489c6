// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// confirmTimeout bounds the wait for an answer. A route_server answers at once.
const confirmTimeout = 5 * time.Second

var errUnconfirmed = errors.New("the connection was lost before the router confirmed the message")

// ping is a request for the presence of a user. A router handles the PDUs of a connection in order, so its answer
// proves that it has relayed the messages before the ping, and that the connection was not dead.
type ping struct {
	conn   *link.Conn
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

// confirm waits until the router has read everything that was sent on conn. It returns ErrMaybeSent if the
// connection ends before, and nil if the router does not answer pings.
func (c *Client) confirm(ctx context.Context, conn *link.Conn, about uint32) error {
	c.mu.Lock()
	if c.conn != conn {
		c.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrMaybeSent, errUnconfirmed)
	}
	if c.noPings {
		c.mu.Unlock()
		return nil
	}
	q := c.next
	if q == nil { // else the next ping confirms this message too
		c.handles++
		q = &ping{conn: conn, about: about, handle: c.handles, done: make(chan struct{})}
		c.next = q
		c.sendPing()
	}
	c.mu.Unlock()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrMaybeSent, ctx.Err())
	}
}

// sendPing sends the next ping, unless one is in flight: an earlier ping does not confirm later messages. It
// needs mu.
func (c *Client) sendPing() {
	if c.inFlight != nil || c.next == nil {
		return
	}
	q := c.next
	c.inFlight, c.next = q, nil
	c.goroutines.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
		defer cancel()
		request := &wire.IMUsersStatReq{UserId: &q.about, UserIdList: []uint32{q.about}, AttachData: pdu.AttachData(q.handle)}
		p, err := pdu.New(wire.CommandUsersStatReq, uint16(q.handle), request)
		if err == nil {
			err = q.conn.Send(ctx, p.Append(nil))
		}
		if err != nil {
			c.finish(q, fmt.Errorf("%w: %w", ErrMaybeSent, errUnconfirmed))
			return
		}
		select {
		case <-q.done:
		case <-ctx.Done():
			c.timeout(q)
		}
	})
}

// finish settles q, if it is in flight, and sends the next ping.
func (c *Client) finish(q *ping, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inFlight != q {
		return
	}
	q.settle(err)
	c.inFlight = nil
	c.sendPing()
}

// timeout handles a router that has not answered in time. If it has answered before, its connection is closed, and
// the messages on it may be lost. Otherwise the router is assumed not to support pings, and messages
// count as routed when they are written.
func (c *Client) timeout(q *ping) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inFlight != q {
		return
	}
	if c.hasAnswered {
		c.failPings()
		q.conn.Close(errUnconfirmed)
		return
	}
	c.opts.Log.Info("the router does not answer pings: messages count as routed when they are written",
		"address", c.opts.Address)
	c.noPings = true
	q.settle(nil)
	if c.next != nil {
		c.next.settle(nil)
	}
	c.inFlight, c.next = nil, nil
}

// failPings settles the pings of a connection that has ended or drains. It needs mu.
func (c *Client) failPings() {
	for _, q := range []*ping{c.inFlight, c.next} {
		if q != nil {
			q.settle(fmt.Errorf("%w: %w", ErrMaybeSent, errUnconfirmed))
		}
	}
	c.inFlight, c.next, c.noPings = nil, nil, false
}

// handleAnswer handles the answer to a ping. It ignores other answers.
func (c *Client) handleAnswer(conn *link.Conn, p pdu.PDU) {
	m := &wire.IMUsersStatRsp{}
	if proto.Unmarshal(p.Body, m) != nil {
		return
	}
	handle, ok := pdu.Handle(m.GetAttachData())
	c.mu.Lock()
	q := c.inFlight
	mine := ok && q != nil && q.conn == conn && q.handle == handle
	c.hasAnswered = c.hasAnswered || mine
	c.mu.Unlock()
	if mine {
		c.finish(q, nil)
	}
}
