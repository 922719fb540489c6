// Package dbproxy is the client of TeamTalk's db_proxy_server, which stores
// messages and answers questions about users, groups and histories.
//
// Its errors say what may have become of a request; see ErrNotSent.
package dbproxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
)

const (
	// maxConnections bounds what one client opens; db_proxy's threads, not its
	// sockets, are what limits it.
	maxConnections = 16
	// defaultRequestTimeout is far above db_proxy's answering times under load,
	// which are below a second.
	defaultRequestTimeout = 10 * time.Second
	// quarantineFactor is for how many timeouts more the slot of a group request is kept at
	// least where its connection was ended because it was overdue; see quarantine.
	quarantineFactor = 2
)

// Options configure a Client.
type Options struct {
	// Address is host:port. The host is resolved again at each dial.
	Address string
	// Connections is how many connections are held, 1 to 16; what lies outside
	// is taken for the nearest.
	Connections int
	// RequestTimeout bounds the wait for an answer, from when its request was
	// written; 0: 10 s.
	RequestTimeout time.Duration
	// Limiter bounds the requests in flight; clients of one address share one.
	// nil: one of its own, 64 and 8.
	Limiter *Limiter
	// Gate is asked right before requests are written; where it returns an
	// error they are not, and fail with ErrNotSent and that error. nil: open.
	Gate func() error
	// OnChange is called after each change of Connected, without locks held. It
	// must not block. nil: nobody is told.
	OnChange func()
	// Log gets connections coming and going.
	Log logr.Logger
	// Dial connects; nil: a net.Dialer.
	Dial link.DialFunc
	// Timing shortens or lengthens the protocol's times.
	Timing link.Timing
}

// Client sends requests to one db_proxy over several connections. It is safe
// for concurrent use.
type Client struct {
	opts      Options
	running   atomic.Bool
	handles   atomic.Uint32
	unmatched atomic.Uint64

	mu    sync.Mutex
	conns map[*link.Conn]*conn
}

// New returns a Client that is not connected until Run.
func New(opts Options) *Client {
	opts.Connections = min(max(opts.Connections, 1), maxConnections)
	if opts.RequestTimeout <= 0 {
		opts.RequestTimeout = defaultRequestTimeout
	}
	if opts.Limiter == nil {
		opts.Limiter = NewLimiter(defaultTotal, defaultGroup)
	}
	if opts.OnChange == nil {
		opts.OnChange = func() {}
	}
	return &Client{opts: opts, conns: make(map[*link.Conn]*conn)}
}

// Run holds the connections until ctx is done, and returns nil once every
// goroutine it started has ended. Requests still under way then fail with
// ErrConnectionLost. It returns link.ErrRunning where another Run is under way.
func (c *Client) Run(ctx context.Context) error {
	if !c.running.CompareAndSwap(false, true) {
		return link.ErrRunning
	}
	defer c.running.Store(false)
	dialBackoff := &link.DialBackoff{}
	var wg sync.WaitGroup
	for range c.opts.Connections {
		l := link.New(link.Options{
			Address:     c.opts.Address,
			Handler:     (*handler)(c),
			Stream:      (*handler)(c).stream,
			Gate:        c.opts.Gate,
			DialBackoff: dialBackoff,
			Dial:        c.opts.Dial,
			Timing:      c.opts.Timing,
			Log:         c.opts.Log,
		})
		// Its only error is ErrRunning, and this link is ours alone.
		wg.Go(func() { _ = l.Run(ctx) })
	}
	wg.Go(func() { c.sweep(ctx) })
	wg.Wait()
	return nil
}

// sweep ends the requests that nobody waits for any more, and that were not
// answered in time either; see conn.expire.
func (c *Client) sweep(ctx context.Context) {
	ticker := time.NewTicker(max(c.opts.RequestTimeout/10, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			c.mu.Lock()
			conns := make([]*conn, 0, len(c.conns))
			for _, cn := range c.conns {
				conns = append(conns, cn)
			}
			c.mu.Unlock()
			for _, cn := range conns {
				cn.expire(now)
			}
		}
	}
}

// Connected returns how many connections take requests.
func (c *Client) Connected() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, cn := range c.conns {
		if cn.takes() {
			n++
		}
	}
	return n
}

// Unmatched returns how many frames came that answered no request under way: late
// answers, repeated ones, and what db_proxy sends of its own accord.
func (c *Client) Unmatched() uint64 { return c.unmatched.Load() }

// pick returns the connection with the fewest requests under way and counts
// one more on it, or nil where none takes requests.
func (c *Client) pick() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	var best *conn
	for _, cn := range c.conns {
		if !cn.takes() {
			continue
		}
		if best == nil || cn.load.Load() < best.load.Load() {
			best = cn
		}
	}
	if best != nil {
		best.load.Add(1)
	}
	return best
}

// handler is the Client as its links know it.
type handler Client

var _ link.Handler = (*handler)(nil)

// Up implements link.Handler.
func (h *handler) Up(lc *link.Conn) {
	h.mu.Lock()
	h.conns[lc] = &conn{link: lc, calls: make(map[uint16]*call), idle: make(chan struct{}, 1), changed: h.opts.OnChange}
	h.mu.Unlock()
	h.opts.OnChange()
}

func (h *handler) conn(lc *link.Conn) *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns[lc]
}

// stream is a link's.
func (h *handler) stream(lc *link.Conn, p pdu.PDU) io.Writer {
	if cn := h.conn(lc); cn != nil {
		return cn.stream(p)
	}
	return nil
}

// Frame implements link.Handler.
func (h *handler) Frame(lc *link.Conn, p pdu.PDU, err error) {
	cn := h.conn(lc)
	if cn == nil || !cn.answer(p, err) {
		h.unmatched.Add(1)
	}
}

// Draining implements link.Handler.
func (h *handler) Draining(lc *link.Conn) {
	h.mu.Lock()
	if cn := h.conns[lc]; cn != nil {
		cn.draining = true
	}
	h.mu.Unlock()
	h.opts.OnChange()
}

// Down implements link.Handler.
func (h *handler) Down(lc *link.Conn, err error) {
	h.mu.Lock()
	cn := h.conns[lc]
	usable := cn != nil && cn.takes()
	delete(h.conns, lc)
	h.mu.Unlock()
	if cn != nil {
		if e, ok := errors.AsType[*pdu.LengthError](err); ok && e.Length > pdu.MaxSkip {
			// Whoever has asked for as much must not do so again; the others may.
			cn.answer(e.PDU, err)
		}
		cn.lose()
	}
	if usable {
		h.opts.OnChange()
	}
}
