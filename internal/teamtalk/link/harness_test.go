// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Handler that records the events of all connections.
type recorder struct {
	mu     sync.Mutex
	events []string
	up     chan *Conn
	down   chan error
	// onFrame, if set, is called with each frame.
	onFrame func(*pdu.Frame)
	// unasked: nobody has asked for the frames.
	unasked bool
}

func newRecorder() *recorder {
	return &recorder{up: make(chan *Conn, 100), down: make(chan error, 100)}
}

func (r *recorder) record(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

func (r *recorder) wantEvents(t *testing.T, events ...string) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff(events, r.events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func (r *recorder) Up(c *Conn) Handler {
	r.record("up")
	r.up <- c
	return r
}

func (r *recorder) Frame(f *pdu.Frame) (asked bool) {
	r.record(fmt.Sprintf("frame %d", f.Seq))
	if r.onFrame != nil {
		r.onFrame(f)
	}
	return !r.unasked
}

func (r *recorder) Draining() { r.record("draining") }

func (r *recorder) Down(err error) {
	r.record("down")
	r.down <- err
}

// harness is a running link and its server.
type harness struct {
	*recorder
	*peer.Listener
	stop func()
}

// run starts a link in a synctest bubble.
func run(t *testing.T, l *peer.Listener, opts Options) *harness {
	h := &harness{recorder: newRecorder(), Listener: l}
	opts.Address, opts.Up = peer.Address, h.Up
	if opts.Dial == nil {
		opts.Dial = l.Dial
	}
	h.stop = peer.Start(t, func(ctx context.Context) { Run(ctx, opts) })
	return h
}

// bubble runs f in a synctest bubble with a running link, and both ends of its first connection.
func bubble(t *testing.T, opts Options, f func(t *testing.T, h *harness, c *Conn, server *peer.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := run(t, peer.Listen(t), opts)
		f(t, h, <-h.up, <-h.Conns)
	})
}

// rawBubble is bubble with a server that reads nothing by itself.
func rawBubble(t *testing.T, opts Options, f func(t *testing.T, h *harness, c *Conn, server *peer.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := peer.Listen(t)
		l.Raw = true
		h := run(t, l, opts)
		f(t, h, <-h.up, <-h.Conns)
	})
}

// send sends in the background.
func send(ctx context.Context, c *Conn, frame []byte) <-chan error {
	return peer.Async(func() error { return c.Send(ctx, frame) })
}

// wantSend checks a result of Send.
func wantSend(t *testing.T, what string, err error, wants ...error) {
	t.Helper()
	peer.WantErr(t, what, err, wants...)
	if errors.Is(err, ErrNotSent) && errors.Is(err, ErrMaybeSent) {
		t.Errorf("%s: %v is both", what, err)
	}
}

// wantElapsed checks the time that has passed.
func wantElapsed(t *testing.T, what string, since time.Time, want time.Duration) {
	t.Helper()
	if d := time.Since(since); d != want {
		t.Errorf("%s after %v, want %v", what, d, want)
	}
}

// wantCommands checks the commands that a server received.
func wantCommands(t *testing.T, server *peer.Conn, want ...wire.Command) {
	t.Helper()
	var got []wire.Command
	for _, a := range server.Arrivals() {
		got = append(got, a.Command)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the server received %#04x, want %#04x", got, want)
	}
}

// frame returns a frame without a body.
func frame(command wire.Command, seq uint16) []byte {
	return pdu.PDU{Service: command.Service(), Command: command, Seq: seq}.Append(nil)
}

// readN reads n bytes.
func readN(t *testing.T, server *peer.Conn, n int) {
	t.Helper()
	if _, err := io.ReadFull(server, make([]byte, n)); err != nil {
		t.Error(err)
	}
}
