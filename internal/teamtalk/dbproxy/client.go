// SPDX-License-Identifier: Apache-2.0

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
	// maxConnections limits the connections of a client. More would not help: db_proxy is limited by its
	// threads.
	maxConnections = 16
	// defaultRequestTimeout is far longer than db_proxy takes under load, which is less than a second.
	defaultRequestTimeout = 10 * time.Second
	// quarantineFactor times the request timeout is the minimum quarantine of a slot; see quarantine.
	quarantineFactor = 2
)

// Options configure a Client.
type Options struct {
	// Address is host:port. The host is resolved at each dial.
	Address string
	// Connections is the number of connections, limited to 1 to 16.
	Connections int
	// RequestTimeout bounds the wait for an answer after the request was written. If 0, it is 10 s.
	RequestTimeout time.Duration
	// Limiter limits the requests in flight. Clients of the same address share one. If nil, the client has
	// its own, of 64 requests and 8 of groups.
	Limiter *Limiter
	// Gate is called before a request is written. If it returns an error, the request fails with
	// ErrNotSent and that error. It may be nil.
	Gate func() error
	// OnChange is called after each change of Connected, without locks held. It must not block, and may be
	// nil.
	OnChange func()
	// Log is for connects and disconnects.
	Log logr.Logger
	// Dial may be nil.
	Dial link.DialFunc
	// Timing overrides the times of the protocol.
	Timing link.Timing
}

// Client sends requests to a db_proxy over several connections. It is safe for concurrent use.
type Client struct {
	// Path reads over the connection with the fewest requests.
	*Path
	opts      Options
	running   atomic.Bool
	handles   atomic.Uint32
	unmatched atomic.Uint64

	mu    sync.Mutex
	conns map[*link.Conn]*conn
}

// New returns a Client that does not connect until Run.
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
	c := &Client{opts: opts, conns: make(map[*link.Conn]*conn)}
	c.Path = &Path{client: c}
	return c
}

// Run keeps the connections up until ctx is done, and returns nil when its goroutines have ended. Requests
// in flight fail with ErrConnectionLost. It returns link.ErrRunning if the Client runs already.
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
		// Its only error is ErrRunning.
		wg.Go(func() { _ = l.Run(ctx) })
	}
	wg.Go(func() { c.sweep(ctx) })
	wg.Wait()
	return nil
}

// sweep ends abandoned requests that were not answered in time; see conn.expire.
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

// Connected returns how many connections accept requests.
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

// Unmatched counts the frames that answered no request in flight: late answers, repeated ones, and frames
// that db_proxy sent unasked.
func (c *Client) Unmatched() uint64 { return c.unmatched.Load() }

// pick returns the connection with the fewest requests and counts one more on it. It returns nil if none
// accepts requests.
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

// handler is the link.Handler of a Client.
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

// stream is for link.Options.
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
			// Only the request with this answer fails with ErrTooLong; the others may be retried.
			cn.answer(e.PDU, err)
		}
		cn.fail()
	}
	if usable {
		h.opts.OnChange()
	}
}
