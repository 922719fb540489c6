// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// How often the peer speaks, and how long the last announcements may take once
// all messages are finished.
const (
	heartbeat    = 5 * time.Second
	routePatient = 5 * time.Second
)

// peer listens at the router as a message server does, past the proxies, and
// counts the announcements of each message.
type peer struct {
	conn net.Conn
	wg   sync.WaitGroup
	stop func()

	mu     sync.Mutex
	counts map[piece]int
	err    error
}

func listen(ctx context.Context, w *world) *peer {
	dialer := net.Dialer{Timeout: routePatient}
	conn, err := dialer.DialContext(ctx, "tcp", w.router)
	framework.Mustf(err, "listen at the router")
	p := &peer{conn: conn, counts: map[piece]int{}}
	ended := make(chan struct{})
	p.stop = sync.OnceFunc(func() {
		close(ended)
		_ = conn.Close()
		p.wg.Wait()
	})
	p.wg.Go(func() { p.beat(ended) })
	p.wg.Go(func() { p.read(w, ended) })
	return p
}

func (p *peer) beat(ended <-chan struct{}) {
	beat, err := pdu.New(wire.CommandHeartBeat, 0, &wire.IMHeartBeat{})
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for err == nil {
		select {
		case <-ticker.C:
			_, err = p.conn.Write(beat.Append(nil))
		case <-ended:
			return
		}
	}
	p.failed(err)
}

func (p *peer) read(w *world, ended <-chan struct{}) {
	reader := pdu.NewReader(p.conn, 0)
	for {
		f, err := reader.Read()
		if err != nil {
			select {
			case <-ended:
			default:
				p.failed(err)
			}
			return
		}
		m := &wire.IMMsgData{}
		if f.Command != wire.CommandMsgData || proto.Unmarshal(f.Body, m) != nil {
			continue
		}
		if which, ok := w.pieceOf(m); ok {
			p.mu.Lock()
			p.counts[which]++
			p.mu.Unlock()
		}
	}
}

func (p *peer) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *peer) of(which piece) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[which]
}

// onWire remembers which announcements went over which connection to the router.
type onWire struct {
	world *world
	mu    sync.Mutex
	by    map[*faultproxy.Conn]map[piece]bool
}

// passed is told of every frame that was passed on to the router or from it.
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

// ended is how many of the connections that had the piece's announcement have ended.
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

// countRoutes compares the announcements with what is stored. A message may be
// announced once more where its resource was recreated under its key. Where the end
// of connections to the router is what a scenario is about, or where the message was
// adopted, it may also be announced once more for each connection that has ended
// with it: which of those were heard, nobody can tell.
func (w *world) countRoutes(ctx context.Context, t *tally, rows stored, adopted func(piece) bool,
	ended func(piece) int) {
	ctx, cancel := context.WithTimeout(ctx, routePatient)
	defer cancel()
	_ = framework.Await(ctx, "every stored message was announced", func(context.Context) (string, bool, error) {
		return "", w.unannounced(rows) == 0, nil
	}) // what is missing then is counted
	t.NotAnnounced = w.unannounced(rows)
	for _, m := range w.messages {
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
		if m.want == atMostOnce {
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
