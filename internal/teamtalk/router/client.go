// Package router is the client of TeamTalk's route_server, which relays
// messages to every other server and stores nothing.
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
	// ErrNotSent says that not one byte of the message was written. Beside it, the
	// reason: ErrNotConnected, ErrTooLarge, the gate's error, the context's.
	ErrNotSent = link.ErrNotSent
	// ErrMaybeSent says that some or all bytes of the message may have been written.
	ErrMaybeSent = link.ErrMaybeSent
	// ErrNotConnected is the reason of an ErrNotSent where no connection takes
	// messages.
	ErrNotConnected = errors.New("not connected")
	// ErrTooLarge is the reason of an ErrNotSent for a frame over
	// pdu.MaxToClients, which clients would not read. It never helps to try again.
	ErrTooLarge = errors.New("too large for clients")
)

// Options configure a Client.
type Options struct {
	// Address is host:port. The host is resolved again at each dial.
	Address string
	// Gate is asked right before messages are written; where it returns an
	// error they are not, and fail with ErrNotSent and that error. nil: open.
	Gate func() error
	// OnChange is called after each change of Connected, without locks held. It
	// must not block. nil: nobody is told.
	OnChange func()
	// OnRead is called with each read notify that the router relays, on the goroutine
	// that reads the connection: it must not block. nil: they are discarded.
	OnRead func(Read)
	// Log gets connections coming and going.
	Log logr.Logger
	// Dial connects; nil: a net.Dialer.
	Dial link.DialFunc
	// Timing shortens or lengthens the protocol's times.
	Timing link.Timing
}

// Client sends messages to one router over one connection. What the router
// relays is read and, but for read notifies, discarded: a peer that does not read
// makes it grow without bound. It is safe for concurrent use.
type Client struct {
	opts Options
	link *link.Link
	// questions counts the goroutines.
	questions sync.WaitGroup

	mu    sync.Mutex
	conn  *link.Conn // nil where none takes messages
	since time.Time
	// asking is under way, next waits for its end; see confirm. mute: the router
	// does not answer, on this connection; answers: it has, on this one or before.
	asking, next  *question
	mute, answers bool
	handles       uint32
}

// New returns a Client that is not connected until Run.
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

// Run holds the connection until ctx is done, and returns nil once every
// goroutine it started has ended. It returns link.ErrRunning where another Run
// is under way.
func (c *Client) Run(ctx context.Context) error {
	defer c.questions.Wait()
	return c.link.Run(ctx)
}

// Connected reports whether there is a connection that takes messages.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil
}

// ConnectedSince returns since when Connected holds; the zero time where it
// does not.
func (c *Client) ConnectedSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since
}

// Route relays m, stored under msgID, to every connected client of its sender
// and its recipient. The router acknowledges no message, so Route sends a query
// after it: nil means that the router has answered the query, and so has read the
// message. ErrMaybeSent means that the connection ended before the answer. Seq is 0
// and attach_data is empty: message servers pass both on to clients, where seq
// would match a reply.
func (c *Client) Route(ctx context.Context, m dbproxy.Message, msgID uint32) error {
	return c.relay(ctx, wire.CommandMsgData, m.From, m.Wire(msgID, nil))
}

// Announce relays that a group's members have changed to every connected client of
// them: db_proxy tells nobody. Its errors are those of Route.
func (c *Client) Announce(ctx context.Context, change dbproxy.MemberChange, m dbproxy.Membership) error {
	kind := change.Type()
	return c.relay(ctx, wire.CommandGroupChangeNotify, change.By, &wire.IMGroupChangeMemberNotify{
		UserId: &change.By, ChangeType: &kind, GroupId: &change.Group, CurUserIdList: m.Current, ChgUserIdList: m.Changed,
	})
}

// relay sends what the router relays as it is, on behalf of a user.
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

// set changes what messages are sent on, and tells of it where that is news.
func (c *Client) set(conn *link.Conn) {
	c.mu.Lock()
	changed := c.conn != conn
	c.conn, c.since = conn, time.Time{}
	if conn != nil {
		c.since = time.Now()
	}
	if changed {
		c.lose()
	}
	c.mu.Unlock()
	if changed {
		c.opts.OnChange()
	}
}

// handler is the Client as its link knows it.
type handler Client

var _ link.Handler = (*handler)(nil)

// Up implements link.Handler.
func (h *handler) Up(conn *link.Conn) { (*Client)(h).set(conn) }

// Frame implements link.Handler.
func (h *handler) Frame(conn *link.Conn, p pdu.PDU, _ error) {
	switch p.Command {
	case wire.CommandUsersStatRsp:
		(*Client)(h).answer(conn, p)
	case wire.CommandMsgReadNotify:
		if read, ok := parseRead(p.Body); ok && h.opts.OnRead != nil {
			h.opts.OnRead(read)
		}
	}
}

// Draining implements link.Handler.
func (h *handler) Draining(*link.Conn) { (*Client)(h).set(nil) }

// Down implements link.Handler.
func (h *handler) Down(*link.Conn, error) { (*Client)(h).set(nil) }
