// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testAddress = "db.example:10600"

// recorder is a Handler that remembers what it was told.
type recorder struct {
	mu     sync.Mutex
	events []string
	up     chan *Conn
	down   chan error
	frames chan pdu.PDU
}

func newRecorder() *recorder {
	return &recorder{up: make(chan *Conn, 100), down: make(chan error, 100), frames: make(chan pdu.PDU, 1000)}
}

func (r *recorder) note(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.events...)
}

func (r *recorder) Up(c *Conn) Handler {
	r.note("up")
	r.up <- c
	return r
}
func (r *recorder) Stream(pdu.PDU) io.Writer { return nil }
func (r *recorder) Frame(p pdu.PDU, err error) {
	event := fmt.Sprintf("frame %d", p.Seq)
	if errors.Is(err, pdu.ErrTooLong) {
		event += " too long"
	}
	r.note(event)
	r.frames <- p
}
func (r *recorder) Draining()      { r.note("draining") }
func (r *recorder) Down(err error) { r.note("down"); r.down <- err }

// dials are the connections that a link asked for, as in-memory pipes.
type dials struct {
	t *testing.T
	// fail makes every dial fail.
	fail     bool
	accepted chan net.Conn
	mu       sync.Mutex
	times    []time.Time
}

func newDials(t *testing.T) *dials { return &dials{t: t, accepted: make(chan net.Conn, 100)} }

func (d *dials) dial(_ context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" || address != testAddress {
		d.t.Errorf("dialed %s %s", network, address)
	}
	d.mu.Lock()
	d.times = append(d.times, time.Now())
	d.mu.Unlock()
	if d.fail {
		return nil, errors.New("refused")
	}
	ours, theirs := net.Pipe()
	d.accepted <- theirs
	return ours, nil
}

func (d *dials) gaps() []time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	var gaps []time.Duration
	for i := 1; i < len(d.times); i++ {
		gaps = append(gaps, d.times[i].Sub(d.times[i-1]))
	}
	return gaps
}

// start runs a link until the returned stop is called, which waits for its end.
func start(t *testing.T, opts Options) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Run(ctx, opts)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// arrival is a frame and how long after since it came.
type arrival struct {
	Command wire.Command
	Seq     uint16
	After   time.Duration
}

// collect reads frames from nc until it is closed.
func collect(nc net.Conn, since time.Time) (arrivals func() []arrival) {
	var mu sync.Mutex
	var got []arrival
	go func() {
		r := pdu.NewReader(nc, 0)
		for {
			p, err := r.Read()
			if err != nil {
				return
			}
			mu.Lock()
			got = append(got, arrival{p.Command, p.Seq, time.Since(since)})
			mu.Unlock()
		}
	}()
	return func() []arrival {
		mu.Lock()
		defer mu.Unlock()
		return append([]arrival(nil), got...)
	}
}

func frame(command wire.Command, seq uint16) []byte {
	return pdu.PDU{Service: command.Service(), Command: command, Seq: seq}.Append(nil)
}

func write(t *testing.T, nc net.Conn, b []byte) {
	t.Helper()
	if _, err := nc.Write(b); err != nil {
		t.Errorf("the peer cannot write: %v", err)
	}
}

// elapse lets the bubble's clock run: no time passes outside of it.
func elapse(d time.Duration) { <-time.After(d) }
