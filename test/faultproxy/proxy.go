// SPDX-License-Identifier: Apache-2.0

// Package faultproxy is a TCP proxy that understands TeamTalk's frames. It stands
// between a client and any db_proxy or router, and does on purpose what networks
// and crashing servers do by chance: each Rule counts how often it really did.
package faultproxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
)

// pollEvery is how often a wait looks again.
const pollEvery = 2 * time.Millisecond

const (
	// dialTimeout bounds connecting to the server behind the proxy.
	dialTimeout = 5 * time.Second
	// answerTimeout bounds the wait for an answer that nobody gets any more.
	answerTimeout = 10 * time.Second
)

// Proxy passes frames on, both ways, as its rules let it.
type Proxy struct {
	upstream string
	listener net.Listener
	wg       sync.WaitGroup
	// busy counts frames that wait inside the proxy to be passed on later.
	busy  atomic.Int64
	rules fault.Rules[Frame, Action]

	mu      sync.Mutex
	closed  bool
	gone    bool
	refused int
	onPass  func(*Conn, Frame)
	pairs   map[*Conn]struct{}
}

// Start starts a proxy on a free loopback port before the server at upstream.
func Start(ctx context.Context, upstream string) (*Proxy, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a proxy before %s: %w", upstream, err)
	}
	p := &Proxy{upstream: upstream, listener: listener, pairs: map[*Conn]struct{}{}}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is host:port for clients.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// OnPass has f told of every frame that is passed on, right after.
func (p *Proxy) OnPass(f func(*Conn, Frame)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onPass = f
}

// Stop closes every connection and waits until nothing of the proxy is left.
func (p *Proxy) Stop() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	for _, c := range p.connections() {
		c.close()
	}
	p.wg.Wait()
}

// SetGone lets the server look gone: every connection is cut, and every new one
// closed at once and counted, until it is set to false.
func (p *Proxy) SetGone(gone bool) {
	p.mu.Lock()
	p.gone = gone
	p.mu.Unlock()
	if gone {
		p.Cut()
	}
}

// Refused is how many connections were closed while the server looked gone.
func (p *Proxy) Refused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// Cut closes every connection, and returns how many there were.
func (p *Proxy) Cut() int {
	conns := p.connections()
	for _, c := range conns {
		c.close()
	}
	return len(conns)
}

// Idle waits until no frame is left inside the proxy to be passed on later.
func (p *Proxy) Idle(ctx context.Context) error {
	return poll(ctx, func() string {
		return fmt.Sprintf("%d frames are still to be passed on to %s", p.busy.Load(), p.upstream)
	}, func() bool { return p.busy.Load() == 0 })
}

func (p *Proxy) connections() []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := make([]*Conn, 0, len(p.pairs))
	for c := range p.pairs {
		conns = append(conns, c)
	}
	return conns
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // only Stop closes it
		}
		p.mu.Lock()
		refuse := p.gone || p.closed
		if refuse {
			p.refused++
		}
		p.mu.Unlock()
		if refuse {
			_ = client.Close()
			continue
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

// serve passes frames between a client and the server until either is gone.
func (p *Proxy) serve(client net.Conn) {
	dialer := net.Dialer{Timeout: dialTimeout}
	server, err := dialer.Dial("tcp", p.upstream)
	if err != nil {
		_ = client.Close() // as the server's own refusal would look
		return
	}
	c := &Conn{proxy: p, client: client, server: server}
	p.mu.Lock()
	if p.closed || p.gone {
		p.mu.Unlock()
		c.close()
		return
	}
	p.pairs[c] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pairs, c)
		p.mu.Unlock()
		c.close()
	}()
	p.wg.Go(func() { c.pump(ToServer, client) })
	c.pump(ToClient, server)
}

// Conn is a client's connection with the one to the server that belongs to it.
type Conn struct {
	proxy          *Proxy
	client, server net.Conn
	// detached: the client is cut off, the server not yet: it still has to answer
	// the request that has attach, and answered is closed then.
	detached atomic.Bool
	attach   []byte
	answered chan struct{}
	// inbound counts frames to the server that were kept in the proxy, and that the
	// server has not answered yet.
	inbound atomic.Int64
	kept    sync.Map // their seqs
	ended   atomic.Bool

	mu   [2]sync.Mutex // of writing, by Direction
	held []*late       // answers that wait for later ones; under mu[ToClient]
}

// late is an answer that is held until so many later ones have left.
type late struct {
	p     pdu.PDU
	after int
}

// pump reads frames from one side until it ends. The other side ends with it.
func (c *Conn) pump(d Direction, from net.Conn) {
	reader := pdu.NewReader(from, pdu.MaxSkip)
	for {
		p, err := reader.Read()
		if err != nil {
			if d == ToServer && c.detached.Load() {
				return // the server's side ends on its own
			}
			if d == ToServer {
				c.linger()
			}
			c.close()
			return
		}
		if d == ToServer && c.detached.Load() {
			continue // what a cut connection had left behind
		}
		f := Frame{Direction: d, PDU: p}
		if d == ToClient {
			c.settled(p.Seq)
		}
		if d == ToClient && c.detached.Load() {
			c.settle(f)
			continue
		}
		if rule := c.proxy.rules.First(f); rule != nil {
			rule.Do(c, f)
			continue
		}
		c.pass(f)
	}
}

// settled notes that what was kept is answered, or has had its time.
func (c *Conn) settled(seq uint16) {
	if _, ok := c.kept.LoadAndDelete(seq); ok {
		c.inbound.Add(-1)
	}
}

// answerTime is how long a server is given to answer what was kept.
const answerTime = 5 * time.Second

// linger waits until what a client that is gone had sent before is passed on, and
// answered: on a slow network the end of a connection comes after it, and a server
// forgets what it has not executed by then.
func (c *Conn) linger() {
	_ = c.client.Close()
	for c.inbound.Load() > 0 && !c.proxy.stopped() {
		time.Sleep(pollEvery)
	}
}

func (p *Proxy) stopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// pass hands a frame on to where it goes.
func (c *Conn) pass(f Frame) {
	c.hand(f)
	c.proxy.mu.Lock()
	told := c.proxy.onPass
	c.proxy.mu.Unlock()
	if told != nil {
		told(c, f)
	}
}

func (c *Conn) hand(f Frame) {
	c.mu[f.Direction].Lock()
	defer c.mu[f.Direction].Unlock()
	c.write(f.Direction, f.PDU)
	if f.Direction == ToServer {
		return
	}
	kept := c.held[:0]
	for _, l := range c.held {
		if l.after--; l.after <= 0 {
			c.write(ToClient, l.p)
			c.proxy.busy.Add(-1)
		} else {
			kept = append(kept, l)
		}
	}
	c.held = kept
}

// write writes a frame; the lock of its direction is held. A side that is gone is
// noticed by its own pump.
func (c *Conn) write(d Direction, p pdu.PDU) {
	to := c.server
	if d == ToClient {
		to = c.client
	}
	_, _ = to.Write(p.Append(nil))
}

// keep notes that the proxy keeps the frame for now; the function that it returns
// passes it on.
func (c *Conn) keep(f Frame) (pass func()) {
	c.proxy.busy.Add(1)
	if f.Direction == ToServer {
		c.inbound.Add(1)
	}
	return func() {
		if f.Direction == ToServer {
			c.kept.Store(f.Seq, true)
			time.AfterFunc(answerTime, func() { c.settled(f.Seq) })
		}
		c.pass(f)
		c.proxy.busy.Add(-1)
	}
}

// Ended reports whether the connection has.
func (c *Conn) Ended() bool { return c.ended.Load() }

func (c *Conn) close() {
	c.ended.Store(true)
	_ = c.client.Close()
	_ = c.server.Close()
}

func poll(ctx context.Context, what func() string, done func() bool) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what(), context.Cause(ctx))
		}
	}
	return nil
}
