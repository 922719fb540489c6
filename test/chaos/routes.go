// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// routePatience is how long the last announcements may take once all messages are finished.
const routePatience = 5 * time.Second

// peer listens at the router, past the proxies, and counts announcements. It is a link.Handler.
type peer struct {
	world   *world
	stop    func()
	stopped func() bool

	mu     sync.Mutex
	counts map[piece]int
	err    error
}

func listen(ctx context.Context, w *world) *peer {
	run, cancel := context.WithCancel(context.Background())
	p := &peer{world: w, counts: map[piece]int{}, stopped: func() bool { return run.Err() != nil }}
	var connected atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		link.Run(run, link.Options{Address: w.router, Up: func(*link.Conn) link.Handler {
			connected.Store(true)
			return p
		}})
	})
	p.stop = func() { cancel(); wg.Wait() }
	w.await(ctx, "the router takes a peer", func() (string, bool) { return "", connected.Load() })
	return p
}

// Frame counts an announcement.
func (p *peer) Frame(f *pdu.Frame) (asked bool) {
	if f.Command != wire.CommandMsgData {
		return true
	}
	m := &wire.IMMsgData{}
	if body, err := f.Hold(); err != nil || proto.Unmarshal(body, m) != nil {
		return true
	}
	if which, ok := p.world.pieceOf(m); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.counts[which]++
	}
	return true
}

// Draining and Down complete link.Handler. A peer that was disconnected may have missed announcements.
func (p *peer) Draining() {}
func (p *peer) Down(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped() {
		p.err = err
	}
}

func (p *peer) of(which piece) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[which]
}

// onWire records which announcements went over which connection to the router.
type onWire struct {
	world *world
	mu    sync.Mutex
	by    map[*faultproxy.Conn]map[piece]bool
}

// passed is called with every frame that was passed on to the router or from it.
func (o *onWire) passed(c *faultproxy.Conn, f faultproxy.Frame) {
	if f.Direction != faultproxy.ToServer || f.Command != wire.CommandMsgData {
		return
	}
	which, ok := o.world.pieceOf(f.Message())
	if !ok {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by[c] == nil {
		o.by[c] = map[piece]bool{}
	}
	o.by[c][which] = true
}

// ended returns how many connections with the piece's announcement have ended.
func (o *onWire) ended(which piece) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c, had := range o.by {
		if had[which] && c.Ended() {
			n++
		}
	}
	return n
}

// countRoutes compares announcements with the store. One more is permitted for each resource that was recreated under
// its key. In scenarios that end connections, and for an adopted message, one more is permitted for each ended
// connection that carried it.
func (w *world) countRoutes(ctx context.Context, t *tally, rows stored, adopted func(piece) bool,
	ended func(piece) int) {
	ctx, cancel := context.WithTimeout(ctx, routePatience)
	defer cancel()
	_ = framework.Await(ctx, "every stored message was announced", func(context.Context) (string, bool, error) {
		return "", w.unannounced(rows) == 0, nil
	}) // what is missing then is counted
	t.NotAnnounced = w.unannounced(rows)
	for _, m := range w.messages {
		if m.want == undetermined {
			continue
		}
		for _, which := range m.pieces() {
			n, allowed := w.peer.of(which), 1+m.again
			if n > allowed && (w.reroutes || adopted(which)) {
				allowed += ended(which)
			}
			t.repeated += max(0, n-allowed)
		}
	}
	w.peer.mu.Lock()
	defer w.peer.mu.Unlock()
	if w.peer.err != nil {
		t.problem("listening at the router ended: %v", w.peer.err)
	}
}

func (w *world) unannounced(rows stored) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.messages {
		if m.want == atMostOnce || m.want == undetermined {
			continue
		}
		for _, which := range m.pieces() {
			if len(rows[which]) > 0 && w.peer.of(which) == 0 && !w.unrouted[which] {
				n++
			}
		}
	}
	return n
}
