// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
)

// relistenEvery is the retry interval for listening again on a port that is not free.
const relistenEvery = 50 * time.Millisecond

// endpoint is the listening side of db_proxy or router.
type endpoint struct {
	target  fault.Target
	options Options
	faults  *fault.Set
	log     logr.Logger
	// handle is called on the connection's reading goroutine; the frame's bytes
	// are its own only until it returns, but for the body.
	handle func(*peer, frame)

	ctx    context.Context
	wg     sync.WaitGroup
	closed bool // guarded by mu; nothing is added to wg after

	mu       sync.Mutex
	address  string // once bound, with its port
	listener net.Listener
	down     bool
	peers    map[*peer]struct{}
}

// listen binds the address; Accept starts with it.
func (e *endpoint) listen(ctx context.Context, address string) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for %s: %w", e.target, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.down {
		return errors.Join(net.ErrClosed, listener.Close())
	}
	e.address = listener.Addr().String()
	e.listener = listener
	e.wg.Go(func() { e.accept(listener) })
	return nil
}

func (e *endpoint) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			e.log.Error(err, "Cannot accept connections")
			e.wait(e.ctx, relistenEvery)
			continue
		}
		if _, refused := e.faults.First(fault.Request{Server: e.target}, fault.Refuse); refused {
			_ = conn.Close()
			continue
		}
		e.serve(conn)
	}
}

func (e *endpoint) serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(e.ctx)
	p := &peer{
		conn: conn, endpoint: e, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1),
		log: e.log.WithValues("peer", conn.RemoteAddr().String()),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.down {
		p.close()
		return
	}
	e.peers[p] = struct{}{}
	e.log.V(1).Info("Connection accepted", "peer", conn.RemoteAddr().String())
	e.wg.Go(func() {
		p.run()
		e.mu.Lock()
		delete(e.peers, p)
		e.mu.Unlock()
	})
}

// everyone returns the peers of this moment.
func (e *endpoint) everyone() []*peer {
	e.mu.Lock()
	defer e.mu.Unlock()
	peers := make([]*peer, 0, len(e.peers))
	for p := range e.peers {
		peers = append(peers, p)
	}
	return peers
}

// closePeers closes every connection, as the server's crash would.
func (e *endpoint) closePeers() {
	for _, p := range e.everyone() {
		p.close()
	}
}

// setDown closes the listener, or opens it again on the same port.
func (e *endpoint) setDown(down bool) {
	e.mu.Lock()
	if e.closed || e.down == down {
		e.mu.Unlock()
		return
	}
	e.down = down
	listener, address := e.listener, e.address
	if !down {
		e.wg.Go(func() { e.relisten(address) })
	}
	e.mu.Unlock()
	if down {
		_ = listener.Close()
		e.closePeers()
	}
}

func (e *endpoint) relisten(address string) {
	for {
		err := e.listen(e.ctx, address)
		if err == nil || errors.Is(err, net.ErrClosed) || e.ctx.Err() != nil {
			return
		}
		e.wait(e.ctx, relistenEvery)
	}
}

// applyFaults brings the listener in line with faults of kind refuse, and
// starts what begins with a fault's being added.
func (e *endpoint) applyFaults(added []Fault) {
	down := slices.ContainsFunc(e.faults.List(), func(f fault.Fired) bool {
		return f.Server == e.target && f.Kind == fault.Refuse && f.Down
	})
	e.setDown(down)
	for _, f := range added {
		if f.Server != e.target || f.Kind != fault.Refuse {
			continue
		}
		e.closePeers()
		if f.Down {
			e.faults.Fire(f.ID)
			if f.Delay > 0 {
				e.later(e.ctx, f.Delay, func() { e.faults.Remove(f.ID) })
			}
		}
	}
}

// later calls f after the delay, unless ctx ends before.
func (e *endpoint) later(ctx context.Context, delay time.Duration, f func()) {
	e.goroutine(func() {
		if e.wait(ctx, delay) {
			f()
		}
	})
}

// goroutine runs f on a goroutine that stop waits for.
func (e *endpoint) goroutine(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.wg.Go(f)
	}
}

// wait returns false where ctx ended first.
func (e *endpoint) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stop closes the listener and all connections and waits for all goroutines.
// The endpoint's context has ended.
func (e *endpoint) stop() {
	e.mu.Lock()
	e.closed = true
	if e.listener != nil {
		_ = e.listener.Close()
	}
	e.mu.Unlock()
	e.closePeers()
	e.wg.Wait()
}

// bound returns the address with its port. It remains valid while the listener is down.
func (e *endpoint) bound() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.address
}
