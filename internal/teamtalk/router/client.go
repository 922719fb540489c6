// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

var (
	// ErrNotSent reports that no byte of the message was written. It also wraps the reason, such as ErrNotConnected or
	// ErrTooLarge, or the error of the gate or the context.
	ErrNotSent = link.ErrNotSent
	// ErrMaybeSent reports that some or all bytes of the message may have been written.
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
	// OnGroup is called with each group whose members another peer has changed, as OnRead is. It may be nil.
	OnGroup func(group uint32)
	// Log is for connects and disconnects.
	Log logr.Logger
	// Reads is as in link.Options.
	Reads *rate.Limiter
	// Dial may be nil.
	Dial link.DialFunc
	// Timing overrides the times of the protocol.
	Timing link.Timing
}

// Client sends messages to a router over one connection. It reads what the router relays, because the router's
// buffer for a peer is unbounded, and discards everything but read notifies and changes of groups. It is safe for
// concurrent use.
type Client struct {
	opts Options
	// goroutines wait for answers to pings.
	goroutines sync.WaitGroup

	mu   sync.Mutex
	conn *conn // nil if there is no connection
	// hasAnswered: the router has answered a ping, on this connection or before.
	hasAnswered bool
	handles     uint32
}

// New returns a Client that does not connect until Run.
func New(opts Options) *Client {
	if opts.OnChange == nil {
		opts.OnChange = func() {}
	}
	return &Client{opts: opts}
}

// Run keeps the connection up until ctx is done, and returns when its goroutines have ended. It must not be
// called twice.
func (c *Client) Run(ctx context.Context) {
	link.Run(ctx, link.Options{
		Address: c.opts.Address,
		Up:      c.up,
		Gate:    c.opts.Gate,
		Reads:   c.opts.Reads,
		Dial:    c.opts.Dial,
		Timing:  c.opts.Timing,
		Log:     c.opts.Log,
	})
	c.goroutines.Wait()
}

// ConnectedSince returns the time of the connect, or the zero time without a connection.
func (c *Client) ConnectedSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return time.Time{}
	}
	return c.conn.since
}

// Route relays a message that is stored under msgID to the connected clients of its sender and recipient. The router
// acknowledges no message, so Route sends a ping after it. It returns nil if the router has answered the ping, and so
// has read the message. ErrMaybeSent means that the connection ended before the answer. Seq is 0 and attach_data is
// empty: message servers pass both on to clients, where seq would match a reply.
func (c *Client) Route(ctx context.Context, m dbproxy.Message, msgID uint32) error {
	return c.relay(ctx, wire.CommandMsgData, m.From, m.Wire(msgID))
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
	cn := c.conn
	c.mu.Unlock()
	if cn == nil {
		return fmt.Errorf("%w: %w", ErrNotSent, ErrNotConnected)
	}
	if err := cn.link.Send(ctx, p.Append(make([]byte, 0, p.Len()))); err != nil {
		return err
	}
	return cn.confirm(ctx, user)
}

// conn is a connection and the pings on it. The Client's mu guards it.
type conn struct {
	client *Client
	link   *link.Conn
	since  time.Time
	// next is sent when inFlight is answered; see confirm.
	inFlight, next *ping
	// noPings: the router does not answer on this connection.
	noPings bool
}

var _ link.Handler = (*conn)(nil)

// up is for link.Options.
func (c *Client) up(l *link.Conn) link.Handler {
	cn := &conn{client: c, link: l, since: time.Now()}
	c.mu.Lock()
	c.conn = cn
	c.mu.Unlock()
	c.opts.OnChange()
	return cn
}

// maxFrame is the longest frame, in bytes, that is looked at: far more than an answer about one user, or a read
// notify.
const maxFrame = 1 << 10

// Frame implements link.Handler. It skips frames that are not needed. A router also relays unrequested frames.
func (cn *conn) Frame(f *pdu.Frame) (asked bool) {
	if onGroup := cn.client.opts.OnGroup; onGroup != nil && f.Command == wire.CommandGroupChangeNotify {
		if group, ok := readGroup(f); ok {
			onGroup(group)
		}
		return false
	}
	answer := f.Command == wire.CommandUsersStatRsp
	read := f.Command == wire.CommandMsgReadNotify && cn.client.opts.OnRead != nil
	if !answer && !read || f.Len > maxFrame {
		return false
	}
	body, ok := f.Small()
	switch {
	case !ok:
	case answer:
		cn.handleAnswer(body)
	default:
		if read, ok := parseRead(body); ok {
			cn.client.opts.OnRead(read)
		}
	}
	return false
}

// Draining implements link.Handler.
func (cn *conn) Draining() {
	c := cn.client
	c.mu.Lock()
	current := c.conn == cn
	if current {
		c.conn = nil
		cn.settle(errUnconfirmed)
	}
	c.mu.Unlock()
	if current {
		c.opts.OnChange()
	}
}

// Down implements link.Handler.
func (cn *conn) Down(error) { cn.Draining() }
