// SPDX-License-Identifier: Apache-2.0

package faultproxy

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
)

const (
	pollInterval = 2 * time.Millisecond
	dialTimeout  = 5 * time.Second
	// answerTimeout bounds the wait for the answer to a request that was executed late.
	answerTimeout = 10 * time.Second
	// keptTimeout bounds the wait for the answer to a request that was kept.
	keptTimeout = 5 * time.Second
)

// Proxy passes frames on in both directions, unless a rule fires.
type Proxy struct {
	upstream string
	listener net.Listener
	wg       sync.WaitGroup
	// busy counts the frames that are kept to be passed on later.
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

// OnPass sets a function that is called after each frame that was passed on.
func (p *Proxy) OnPass(f func(*Conn, Frame)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onPass = f
}

// Stop closes all connections and waits until the goroutines have ended.
func (p *Proxy) Stop() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.cut()
	p.wg.Wait()
}

// SetGone makes the server look gone: all connections are closed, and each new one is closed at once and counted,
// until gone is set to false.
func (p *Proxy) SetGone(gone bool) {
	p.mu.Lock()
	p.gone = gone
	p.mu.Unlock()
	if gone {
		p.cut()
	}
}

// Refused returns how many connections were closed while the server looked gone.
func (p *Proxy) Refused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// cut closes all connections.
func (p *Proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.close()
	}
}

// Idle waits until all kept frames were passed on.
func (p *Proxy) Idle(ctx context.Context) error {
	return poll(ctx, func() string {
		return fmt.Sprintf("%d frames are still to be passed on to %s", p.busy.Load(), p.upstream)
	}, func() bool { return p.busy.Load() == 0 })
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

// serve passes frames between a client and the server until one of them closes its connection.
func (p *Proxy) serve(client net.Conn) {
	dialer := net.Dialer{Timeout: dialTimeout}
	server, err := dialer.Dial("tcp", p.upstream)
	if err != nil {
		_ = client.Close()
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

// Conn is a connection of a client, and the proxy's connection to the server for it.
type Conn struct {
	proxy          *Proxy
	client, server net.Conn
	// detached: the connection of the client was closed; see ExecuteLate. answered is closed when the server has
	// answered the request with attach.
	detached atomic.Bool
	attach   []byte
	answered chan struct{}
	// inbound counts the frames to the server that were kept and are not answered yet. kept holds their seqs.
	inbound atomic.Int64
	kept    sync.Map
	ended   atomic.Bool

	mu   [2]sync.Mutex // for writing, by Direction
	held []*late       // guarded by mu[ToClient]
}

// late is an answer that is held until after later answers were passed on.
type late struct {
	p     pdu.PDU
	after int
}

// pump reads frames from one side until it ends, and then closes the other side.
func (c *Conn) pump(d Direction, from net.Conn) {
	reader := pdu.NewReader(from, pdu.MaxSkip)
	for {
		p, err := reader.Read()
		if err != nil {
			if d == ToServer && c.detached.Load() {
				return // ExecuteLate closes the server's side
			}
			if d == ToServer {
				c.linger()
			}
			c.close()
			return
		}
		if d == ToServer && c.detached.Load() {
			continue
		}
		f := Frame{Direction: d, PDU: p}
		if d == ToClient {
			c.settled(p.Seq)
			if c.detached.Load() {
				c.settle(f)
				continue
			}
		}
		if rule := c.proxy.rules.First(f); rule != nil {
			rule.Do(c, f)
			continue
		}
		c.pass(f)
	}
}

// settled uncounts a kept frame that was answered, or was not in time.
func (c *Conn) settled(seq uint16) {
	if _, ok := c.kept.LoadAndDelete(seq); ok {
		c.inbound.Add(-1)
	}
}

// linger waits until the frames of a client that has closed its connection were passed on and answered. On a slow
// network, the end of a connection arrives after them; a server drops what it has not executed by then.
func (c *Conn) linger() {
	_ = c.client.Close()
	for c.inbound.Load() > 0 && !c.proxy.stopped() {
		time.Sleep(pollInterval)
	}
}

func (p *Proxy) stopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// pass passes a frame on.
func (c *Conn) pass(f Frame) {
	c.forward(f)
	c.proxy.mu.Lock()
	onPass := c.proxy.onPass
	c.proxy.mu.Unlock()
	if onPass != nil {
		onPass(c, f)
	}
}

// forward writes a frame, and the held answers that wait for it.
func (c *Conn) forward(f Frame) {
	c.mu[f.Direction].Lock()
	defer c.mu[f.Direction].Unlock()
	c.write(f.Direction, f.PDU)
	if f.Direction == ToServer {
		return
	}
	c.held = slices.DeleteFunc(c.held, func(l *late) bool {
		if l.after--; l.after > 0 {
			return false
		}
		c.write(ToClient, l.p)
		c.proxy.busy.Add(-1)
		return true
	})
}

// write writes a frame. It needs the mutex of the direction. The pump of a side notices its end.
func (c *Conn) write(d Direction, p pdu.PDU) {
	_, _ = [...]net.Conn{ToServer: c.server, ToClient: c.client}[d].Write(p.Append(nil))
}

// keep counts a kept frame, and returns the function that passes it on.
func (c *Conn) keep(f Frame) (pass func()) {
	c.proxy.busy.Add(1)
	if f.Direction == ToServer {
		c.inbound.Add(1)
	}
	return func() {
		if f.Direction == ToServer {
			c.kept.Store(f.Seq, true)
			time.AfterFunc(keptTimeout, func() { c.settled(f.Seq) })
		}
		c.pass(f)
		c.proxy.busy.Add(-1)
	}
}

// Ended reports whether the connection has ended.
func (c *Conn) Ended() bool { return c.ended.Load() }

func (c *Conn) close() {
	c.ended.Store(true)
	_ = c.client.Close()
	_ = c.server.Close()
}

func poll(ctx context.Context, what func() string, done func() bool) error {
	check := func(context.Context) (bool, error) { return done(), nil }
	if wait.PollUntilContextCancel(ctx, pollInterval, true, check) != nil {
		return fmt.Errorf("%s: %w", what(), context.Cause(ctx))
	}
	return nil
}
