// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
)

const (
	// maxConnections limits the connections of a client. More would not help: db_proxy is limited by its
	// threads.
	maxConnections = 16
	// maxReplaced limits the replaced connections that remain open because of late calls. Overdue calls replace their
	// connection in any case, and close it.
	maxReplaced = 16
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
	// Limits limits the requests in flight at each db_proxy that the address resolves to. All clients of a process
	// share one. If nil, the client has its own, of DefaultMaxInFlight and DefaultMaxGroupInFlight.
	Limits *Limits
	// Quota is the client's part of Limits, and its namespace. If nil, it may use all of them.
	Quota *Quota
	// Memory limits the memory of answers. The clients of a process share one. If nil, the client has its own.
	Memory *Memory
	// Gate is called before a request is written. If it returns an error, the request fails with
	// ErrNotSent and that error. It may be nil.
	Gate func() error
	// OnChange is called after each change of Connected, without locks held. It must not block, and may be
	// nil.
	OnChange func()
	// OnAddress is called after a change of Addresses, before a request goes to a new one. It must not block, and may be
	// nil.
	OnAddress func()
	// Log is for connects and disconnects.
	Log logr.Logger
	// Reads is as in link.Options.
	Reads *rate.Limiter
	// Dial may be nil.
	Dial link.DialFunc
	// Timing overrides the times of the protocol.
	Timing link.Timing
}

// Client sends requests to a db_proxy over several connections. It is safe for concurrent use.
type Client struct {
	// Path reads over the connection with the fewest requests.
	*Path
	opts    Options
	handles atomic.Uint32

	mu    sync.Mutex
	conns map[*conn]struct{}
	// moved is closed, and replaced, when the first connection to a db_proxy is up, or the last one has ended.
	moved chan struct{}
	// addresses are those that each of the connections was made to last.
	addresses []string
}

// New returns a Client that does not connect until Run.
func New(opts Options) *Client {
	opts.Connections = min(max(opts.Connections, 1), maxConnections)
	if opts.RequestTimeout <= 0 {
		opts.RequestTimeout = defaultRequestTimeout
	}
	if opts.Limits == nil {
		opts.Limits = NewLimits(DefaultMaxInFlight, DefaultMaxGroupInFlight)
	}
	if opts.Quota == nil {
		opts.Quota = &Quota{}
	}
	if opts.Memory == nil {
		opts.Memory = NewMemory(DefaultMemory)
	}
	if opts.OnChange == nil {
		opts.OnChange = func() {}
	}
	if opts.OnAddress == nil {
		opts.OnAddress = func() {}
	}
	c := &Client{
		opts: opts, conns: map[*conn]struct{}{}, moved: make(chan struct{}), addresses: make([]string, opts.Connections),
	}
	c.Path = &Path{client: c}
	return c
}

// Run keeps the connections up until ctx is done, and returns when its goroutines have ended. Requests
// in flight fail with ErrConnectionLost. It must not be called twice.
func (c *Client) Run(ctx context.Context) {
	dialBackoff := &link.DialBackoff{}
	var wg sync.WaitGroup
	for i := range c.opts.Connections {
		wg.Go(func() { c.keepConnected(ctx, i, dialBackoff) })
	}
	wg.Wait()
}

// keepConnected keeps the i-th connection up. When it is to be replaced, another link takes its place at once, and the
// first one ends with its connection.
func (c *Client) keepConnected(ctx context.Context, i int, dialBackoff *link.DialBackoff) {
	var links sync.WaitGroup
	defer links.Wait()
	for before := (*conn)(nil); ; {
		linkCtx, abandon := context.WithCancel(ctx)
		replaced := make(chan *conn, 1)
		replaces := before
		links.Go(func() {
			defer abandon()
			link.Run(linkCtx, link.Options{
				Address: c.opts.Address,
				Up: func(l *link.Conn) link.Handler {
					cn := &conn{client: c, link: l, calls: make(map[uint16]*call), replaced: replaced, abandon: abandon}
					return c.up(i, cn, replaces)
				},
				Gate:        c.opts.Gate,
				DialBackoff: dialBackoff,
				Reads:       c.opts.Reads,
				Dial:        c.opts.Dial,
				Timing:      c.opts.Timing,
				Log:         c.opts.Log,
			})
		})
		select {
		case before = <-replaced:
		case <-ctx.Done():
			return
		}
	}
}

// up adds a connection, the i-th one, which retires the one that it replaces, if any.
func (c *Client) up(i int, cn, replaces *conn) link.Handler {
	address := addressOf(cn.link.RemoteAddr())
	cn.share = c.opts.Limits.connect(address, c.opts.Quota)
	c.mu.Lock()
	moved := c.addresses[i] != address
	c.addresses[i] = address
	c.mu.Unlock()
	if moved {
		c.opts.OnAddress()
	}
	c.mu.Lock()
	c.noteMove(cn)
	c.conns[cn] = struct{}{}
	if replaces != nil {
		replaces.retired.Store(true)
	}
	c.mu.Unlock()
	c.opts.OnChange()
	if replaces != nil {
		replaces.closeUnused()
	}
	return cn
}

// noteMove has requests that wait look again for db_proxies, if a connection that is not in conns is the only one to
// its db_proxy. It needs mu.
func (c *Client) noteMove(cn *conn) {
	for other := range c.conns {
		if other.share == cn.share {
			return
		}
	}
	close(c.moved)
	c.moved = make(chan struct{})
}

// mayReplace bounds the connections that are open because of late calls.
func (c *Client) mayReplace() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns) < c.opts.Connections+maxReplaced
}

// Connected returns how many connections accept requests.
func (c *Client) Connected() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for cn := range c.conns {
		if cn.takes() {
			n++
		}
	}
	return n
}

// Addresses returns the addresses of db_proxy servers that its connections are made to, or were last, as ip:port.
func (c *Client) Addresses() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	addresses := slices.Compact(slices.Sorted(slices.Values(c.addresses)))
	return slices.DeleteFunc(addresses, func(a string) bool { return a == "" })
}

// leastLoaded returns the connection with the fewest requests, of those without a late one if there are such, or nil
// if none accepts requests. If of is set, it is a connection of that share. It needs mu.
func (c *Client) leastLoaded(of *share) *conn {
	var best *conn
	for cn := range c.conns {
		if cn.takes() && (of == nil || cn.share == of) && (best == nil || cn.compare(best) < 0) {
			best = cn
		}
	}
	return best
}

// compare orders connections by how well they suit a request.
func (cn *conn) compare(other *conn) int {
	return cmp.Or(
		cmp.Compare(min(cn.late.Load(), 1), min(other.late.Load(), 1)), cmp.Compare(cn.load.Load(), other.load.Load()))
}
