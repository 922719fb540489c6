// SPDX-License-Identifier: Apache-2.0

// Package router is the client of TeamTalk's route_server, which relays messages to all other servers and stores
// nothing.
//
// New returns a Client. Client.Route announces a message, Client.Announce a change of a group.
package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/go-logr/logr"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

var (
	// ErrNotSent says that no byte of the message was written. It also wraps the reason, such as ErrNotConnected or
	// ErrTooLarge, or the error of the gate or the context.
	ErrNotSent = link.ErrNotSent
	// ErrMaybeSent says that some or all bytes of the message may have been written.
	ErrMaybeSent = link.ErrMaybeSent
	// ErrNotConnected is the reason of ErrNotSent if there is no connection.
	ErrNotConnected = errors.New("not connected")
	// ErrTooLarge is the reason of ErrNotSent for a frame over pdu.MaxToClients, which clients do not accept. A
	// retry does not help.
	ErrTooLarge = errors.New("too large for clients")
)

// Options configure a Client.
type Options struct {
	// Address is host:port. The host is resolved at each dial.
	Address string
	// Gate is called before a message is written. If it returns an error, the message fails with ErrNotSent and
	// that error. It may be nil.
	Gate func() error
	// OnChange is called after each change of Connected, without locks held. It must not block, and may be nil.
	OnChange func()
	// OnRead is called with each read notify, on the goroutine that reads the connection. It must not block, and
	// may be nil.
	OnRead func(Read)
	// Log is for connects and disconnects.
	Log logr.Logger
	// Dial may be nil.
	Dial link.DialFunc
	// Timing overrides the times of the protocol.
	Timing link.Timing
}

// Client sends messages to a router over one connection. It reads what the router relays, because the router's
// buffer for a peer is unbounded, and discards everything but read notifies. It is safe for concurrent
// use.
type Client struct {
	opts Options
	link *link.Link
	// goroutines wait for answers to pings.
	goroutines sync.WaitGroup

	mu    sync.Mutex
	conn  *link.Conn // nil if there is no connection
	since time.Time
	// next is sent when inFlight is answered; see confirm. noPings: the router does not answer on this connection.
	// hasAnswered: it has answered, on this connection or before.
	inFlight, next       *ping
	noPings, hasAnswered bool
	handles              uint32
}

// New returns a Client that does not connect until Run.
func New(opts Options) *Client {
	if opts.OnChange == nil {
		opts.OnChange = func() {}
	}
	c := &Client{opts: opts}
	c.link = link.New(link.Options{
		Address: opts.Address,
		Handler: (*handler)(c),
		Gate:    opts.Gate,
		Dial:    opts.Dial,
		Timing:  opts.Timing,
		Log:     opts.Log,
	})
	return c
}

// Run keeps the connection up until ctx is done, and returns nil when its goroutines have ended. It returns
// link.ErrRunning if the Client runs already.
func (c *Client) Run(ctx context.Context) error {
	defer c.goroutines.Wait()
	return c.link.Run(ctx)
}

// Connected reports whether there is a connection.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil
}

// ConnectedSince returns the time of the connect, or the zero time without a connection.
func (c *Client) ConnectedSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since
}

// Route relays a message that is stored under msgID to the connected clients of its sender and recipient. The
// router acknowledges no message, so Route sends a ping after it: nil means that the router has answered the
// ping, and so has read the message. ErrMaybeSent means that the connection ended before the answer. Seq
// is 0 and attach_data is empty: message servers pass both on to clients, where seq would match a reply.
func (c *Client) Route(ctx context.Context, m dbproxy.Message, msgID uint32) error {
	return c.relay(ctx, wire.CommandMsgData, m.From, m.Wire(msgID, nil))
}

// Announce announces a change of the members of a group to the connected clients of its members, which
// db_proxy does not do. Its errors are those of Route.
func (c *Client) Announce(ctx context.Context, change dbproxy.MemberChange, m dbproxy.Membership) error {
	kind := change.Type()
	return c.relay(ctx, wire.CommandGroupChangeNotify, change.By, &wire.IMGroupChangeMemberNotify{
		UserId: &change.By, ChangeType: &kind, GroupId: &change.Group, CurUserIdList: m.Current, ChgUserIdList: m.Changed,
	})
}

// relay sends a PDU that the router relays unchanged, on behalf of a user.
func (c *Client) relay(ctx context.Context, command wire.Command, user uint32, body proto.Message) error {
	p, err := pdu.New(command, 0, body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	if p.Len() > pdu.MaxToClients {
		return fmt.Errorf("%w: %w: %d bytes, want at most %d", ErrNotSent, ErrTooLarge, p.Len(), pdu.MaxToClients)
	}
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("%w: %w", ErrNotSent, ErrNotConnected)
	}
	if err := conn.Send(ctx, p.Append(make([]byte, 0, p.Len()))); err != nil {
		return err
	}
	return c.confirm(ctx, conn, user)
}

// setConn replaces the connection and calls OnChange if it has changed.
func (c *Client) setConn(conn *link.Conn) {
	c.mu.Lock()
	changed := c.conn != conn
	c.conn, c.since = conn, time.Time{}
	if conn != nil {
		c.since = time.Now()
	}
	if changed {
		c.failPings()
	}
	c.mu.Unlock()
	if changed {
		c.opts.OnChange()
	}
}

// handler is the link.Handler of a Client.
type handler Client

var _ link.Handler = (*handler)(nil)

// Up implements link.Handler.
func (h *handler) Up(conn *link.Conn) { (*Client)(h).setConn(conn) }

// Frame implements link.Handler.
func (h *handler) Frame(conn *link.Conn, p pdu.PDU, _ error) {
	switch p.Command {
	case wire.CommandUsersStatRsp:
		(*Client)(h).handleAnswer(conn, p)
	case wire.CommandMsgReadNotify:
		if read, ok := parseRead(p.Body); ok && h.opts.OnRead != nil {
			h.opts.OnRead(read)
		}
	}
}

// Draining implements link.Handler.
func (h *handler) Draining(*link.Conn) { (*Client)(h).setConn(nil) }

// Down implements link.Handler.
func (h *handler) Down(*link.Conn, error) { (*Client)(h).setConn(nil) }
