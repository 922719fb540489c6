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

// confirmTimeout is how long a router is given to answer. A route_server answers
// at once; one that does not answer at all is not asked again on its connection.
const confirmTimeout = 5 * time.Second

var errUnconfirmed = errors.New("the connection was lost before the router had read it")

// question asks a router for somebody's presence, which it answers, after all that
// was sent on the connection before: it reads its connections in order, one PDU at
// a time. So its answer shows that the messages have been relayed, and did not end
// up in a connection that was dead already.
type question struct {
	conn   *link.Conn
	about  uint32 // a user
	handle uint32
	// err is set before done is closed.
	err  error
	done chan struct{}
}

func (q *question) settle(err error) {
	q.err = err
	close(q.done)
}

// confirm waits until the router has read all that was sent on conn before. It
// returns ErrMaybeSent where the connection ends before, and nil where the router
// does not answer such questions.
func (c *Client) confirm(ctx context.Context, conn *link.Conn, about uint32) error {
	c.mu.Lock()
	if c.conn != conn {
		c.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrMaybeSent, errUnconfirmed)
	}
	if c.mute {
		c.mu.Unlock()
		return nil
	}
	q := c.next
	if q == nil { // else one answer is enough for several messages
		c.handles++
		q = &question{conn: conn, about: about, handle: c.handles, done: make(chan struct{})}
		c.next = q
		c.ask()
	}
	c.mu.Unlock()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrMaybeSent, ctx.Err())
	}
}

// ask asks the next question, unless one is under way: it would be of no use to
// those who come meanwhile. It needs mu.
func (c *Client) ask() {
	if c.asking != nil || c.next == nil {
		return
	}
	q := c.next
	c.asking, c.next = q, nil
	c.questions.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
		defer cancel()
		request := &wire.IMUsersStatReq{UserId: &q.about, UserIdList: []uint32{q.about}, AttachData: pdu.AttachData(q.handle)}
		p, err := pdu.New(wire.CommandUsersStatReq, uint16(q.handle), request)
		if err == nil {
			err = q.conn.Send(ctx, p.Append(nil))
		}
		if err != nil {
			c.answered(q, fmt.Errorf("%w: %w", ErrMaybeSent, errUnconfirmed))
			return
		}
		select {
		case <-q.done:
		case <-ctx.Done():
			c.silent(q)
		}
	})
}

// answered settles q, if it is under way, and lets the next one be asked.
func (c *Client) answered(q *question, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking != q {
		return
	}
	q.settle(err)
	c.asking = nil
	c.ask()
}

// silent decides about a router that has not answered in time. One that has
// answered before is taken to be out of reach: its connection ends, and what was
// written to it may be lost. One that never has is taken to be of a kind that
// does not: what was handed to it has to do.
func (c *Client) silent(q *question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking != q {
		return
	}
	if c.answers {
		c.lose()
		q.conn.Close(errUnconfirmed)
		return
	}
	c.opts.Log.Info("The router does not say whether it reads: messages count as routed once they are written to it", "address", c.opts.Address)
	c.mute = true
	q.settle(nil)
	if c.next != nil {
		c.next.settle(nil)
	}
	c.asking, c.next = nil, nil
}

// lose settles the questions of a connection that has ended or drains: nobody
// answers them any more. It needs mu.
func (c *Client) lose() {
	for _, q := range []*question{c.asking, c.next} {
		if q != nil {
			q.settle(fmt.Errorf("%w: %w", ErrMaybeSent, errUnconfirmed))
		}
	}
	c.asking, c.next, c.mute = nil, nil, false
}

// answer takes an answer from the router; all but the one that is waited for is
// discarded.
func (c *Client) answer(conn *link.Conn, p pdu.PDU) {
	m := &wire.IMUsersStatRsp{}
	if proto.Unmarshal(p.Body, m) != nil {
		return
	}
	handle, ok := pdu.Handle(m.GetAttachData())
	c.mu.Lock()
	q := c.asking
	mine := ok && q != nil && q.conn == conn && q.handle == handle
	c.answers = c.answers || mine
	c.mu.Unlock()
	if mine {
		c.answered(q, nil)
	}
}
