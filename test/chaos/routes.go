package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
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
	counts map[int]int
	err    error
}

func listen(ctx context.Context, w *world) (*peer, error) {
	dialer := net.Dialer{Timeout: routePatient}
	conn, err := dialer.DialContext(ctx, "tcp", w.router)
	if err != nil {
		return nil, fmt.Errorf("listen at the router: %w", err)
	}
	p := &peer{conn: conn, counts: map[int]int{}}
	ended := make(chan struct{})
	p.stop = sync.OnceFunc(func() {
		close(ended)
		_ = conn.Close()
		p.wg.Wait()
	})
	p.wg.Go(func() { p.beat(ended) })
	p.wg.Go(func() { p.read(w, ended) })
	return p, nil
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
		if number, ok := w.numberIn(m.GetMsgData()); ok {
			p.mu.Lock()
			p.counts[number]++
			p.mu.Unlock()
		}
	}
}

func (p *peer) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *peer) of(number int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[number]
}

// countRoutes compares the announcements with what is stored.
func (w *world) countRoutes(ctx context.Context, t *tally, rows stored, adopted func(*message) bool) {
	ctx, cancel := context.WithTimeout(ctx, routePatient)
	defer cancel()
	_ = w.await(ctx, "every stored message was announced", func(context.Context) (string, bool, error) {
		return "", w.unannounced(rows) == 0, nil
	}) // what is missing then is counted
	t.routesMissing = w.unannounced(rows)
	for _, m := range w.messages {
		allowed := 1 + w.takeovers + w.cuts
		if adopted(m) {
			allowed = max(allowed, 2)
		}
		if n := w.peer.of(m.number); n > allowed {
			t.routesRepeated += n - allowed
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
		if m.want == delivered && len(rows[m.number]) > 0 && w.peer.of(m.number) == 0 && !w.unrouted[m.number] {
			n++
		}
	}
	return n
}
