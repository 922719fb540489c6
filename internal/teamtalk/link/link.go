// SPDX-License-Identifier: Apache-2.0

// Package link keeps a TCP connection to a TeamTalk server up: it dials and redials, sends heartbeats, reads
// frames and writes frames in batches.
//
// New returns a Link, whose Run passes connections and frames to a Handler. Conn.Send writes a frame.
package link

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
)

// Timing holds the times of a link. The defaults apply to zero and negative values.
type Timing struct {
	// Dial bounds the resolution of the host and the connect. Default 10 s.
	Dial time.Duration
	// Heartbeat is the time without a frame after which a heartbeat is sent. Default 5 s.
	Heartbeat time.Duration
	// Silence is the time without a frame after which the connection is closed, and bounds the draining of a
	// connection. Default 30 s.
	Silence time.Duration
	// Write bounds the write of a batch of frames. Default 10 s.
	Write time.Duration
	// BackoffMin and BackoffMax bound the pause between dials, which is random below a limit that doubles from
	// BackoffMin to BackoffMax. A connection that received a frame resets it. Default 100 ms and 30 s.
	BackoffMin, BackoffMax time.Duration
	// StayAway is the pause after stop-receiving, to which up to a fifth of it is added at random. db_proxy
	// exits 4 s after stop-receiving, and accepts connections until then. Default 5 s.
	StayAway time.Duration
}

// withDefaults returns t with the defaults.
func (t Timing) withDefaults() Timing {
	return Timing{
		Dial:       cmp.Or(max(t.Dial, 0), 10*time.Second),
		Heartbeat:  cmp.Or(max(t.Heartbeat, 0), 5*time.Second),
		Silence:    cmp.Or(max(t.Silence, 0), 30*time.Second),
		Write:      cmp.Or(max(t.Write, 0), 10*time.Second),
		BackoffMin: cmp.Or(max(t.BackoffMin, 0), 100*time.Millisecond),
		BackoffMax: cmp.Or(max(t.BackoffMax, 0), 30*time.Second),
		StayAway:   cmp.Or(max(t.StayAway, 0), 5*time.Second),
	}
}

// DialFunc connects to an address. It must return when ctx is done.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Options configure a Link.
type Options struct {
	// Address is host:port. The host is resolved at each dial.
	Address string
	// Handler is required.
	Handler Handler
	// Stream returns the writer for the body of a frame that is too long to hold, or nil to discard it. Handler.
	// Frame is called after it. Stream may be nil.
	Stream func(c *Conn, p pdu.PDU) io.Writer
	// Gate is called before frames are written, but not before heartbeats. If it returns an error, the frames
	// fail with that error. During a slow write, it is called again after each tenth of Timing.Write.
	// It may be nil.
	Gate func() error
	// DialBackoff is shared by the links to a server, so that a stop-receiving on one of them delays the dials
	// of all. If nil, the link has its own.
	DialBackoff *DialBackoff
	// Dial may be nil.
	Dial DialFunc
	// Timing overrides the times of the protocol.
	Timing Timing
	// Log is for connects, disconnects and, at V(1), failed dials.
	Log logr.Logger
}

// Link keeps a connection up. See Run.
type Link struct {
	opts    Options
	running atomic.Bool
}

// ErrRunning reports a concurrent second Run.
var ErrRunning = errors.New("already running")

// New returns a Link that does not connect until Run.
func New(opts Options) *Link {
	opts.Timing = opts.Timing.withDefaults()
	if opts.DialBackoff == nil {
		opts.DialBackoff = &DialBackoff{}
	}
	if opts.Dial == nil {
		opts.Dial = (&net.Dialer{}).DialContext
	}
	return &Link{opts: opts}
}

// Run connects and reconnects until ctx is done. Then it closes the connection and returns nil when its
// goroutines have ended. It returns ErrRunning if the Link runs already.
func (l *Link) Run(ctx context.Context) error {
	if !l.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer l.running.Store(false)

	failures := 0
	for {
		for held := l.opts.DialBackoff.remaining(); held > 0; held = l.opts.DialBackoff.remaining() {
			if !sleep(ctx, held) {
				return nil
			}
		}
		if l.connectOnce(ctx) {
			failures = 0
		}
		if !sleep(ctx, l.backoff(failures)) {
			return nil
		}
		failures++
	}
}

// connectOnce dials and waits until the connection ends. It reports whether the connection received a frame,
// which resets the backoff.
func (l *Link) connectOnce(ctx context.Context) bool {
	nc, err := l.dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.opts.Log.V(1).Info("cannot connect", "reason", err.Error())
		}
		return false
	}
	if l.opts.DialBackoff.remaining() > 0 || ctx.Err() != nil {
		// The server announced its exit during the dial, and does not repeat it.
		_ = nc.Close()
		return false
	}
	c := newConn(nc, l.opts)
	l.opts.Log.Info("connected")
	received, err := c.run(ctx)
	l.opts.Log.Info("disconnected", "reason", err.Error())
	return received && !errors.Is(err, ErrProtocol)
}

func (l *Link) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.opts.Timing.Dial)
	defer cancel()
	return l.opts.Dial(ctx, "tcp", l.opts.Address)
}

// backoff returns the pause before the next dial.
func (l *Link) backoff(failures int) time.Duration {
	t := l.opts.Timing
	bound := t.BackoffMin
	for i := 0; i < failures && bound < t.BackoffMax; i++ {
		bound *= 2
	}
	return jitter(min(bound, t.BackoffMax))
}

// jitter returns a random duration up to bound.
func jitter(bound time.Duration) time.Duration {
	if bound <= 0 {
		return 0
	}
	return rand.N(bound + 1)
}

// sleep returns true after d, or false when ctx is done.
func sleep(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
