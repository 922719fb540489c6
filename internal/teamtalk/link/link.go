// Package link holds one TCP connection to a TeamTalk server: it dials, keeps
// the connection alive, reads at all times, writes without being held up, and
// dials again. What the frames mean is its Handler's business.
package link

import (
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

// Timing is how long things may take. A zero or negative value means the
// default, which is the protocol's where it has one.
type Timing struct {
	// Dial bounds resolving the host and connecting, together. 10 s.
	Dial time.Duration
	// Heartbeat is how long nothing is sent before a heartbeat is. 5 s.
	Heartbeat time.Duration
	// Silence is how long nothing is received before the connection is closed,
	// and the longest that a connection is drained. 30 s.
	Silence time.Duration
	// Write bounds the writing of one batch of frames. 10 s.
	Write time.Duration
	// BackoffMin and BackoffMax bound the pause between two dials: it is drawn
	// evenly from zero to a bound that doubles from the one to the other, and
	// starts again after a connection that received something. 100 ms, 30 s.
	BackoffMin, BackoffMax time.Duration
	// StayAway is how long a server that said stop-receiving is not dialed; up
	// to a fifth of it is added at random. db_proxy still accepts connections
	// for 4 s, until it exits. 5 s.
	StayAway time.Duration
}

// withDefaults returns t with its zero values filled in.
func (t Timing) withDefaults() Timing {
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	or(&t.Dial, 10*time.Second)
	or(&t.Heartbeat, 5*time.Second)
	or(&t.Silence, 30*time.Second)
	or(&t.Write, 10*time.Second)
	or(&t.BackoffMin, 100*time.Millisecond)
	or(&t.BackoffMax, 30*time.Second)
	or(&t.StayAway, 5*time.Second)
	return t
}

// DialFunc connects to an address; it must return when ctx is done.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Options configure a Link.
type Options struct {
	// Address is host:port. The host is resolved again at each dial.
	Address string
	// Handler is told of connections and frames; required.
	Handler Handler
	// Stream, where set, says where the body of a frame goes that is too long to hold;
	// nil: nowhere. The Handler's Frame comes right after it.
	Stream func(c *Conn, p pdu.PDU) io.Writer
	// Gate is asked right before frames are written; nil is always open. Where
	// it returns an error they are not written, and fail with that error.
	// Heartbeats pass without. While a slow peer keeps a write waiting, Gate is
	// asked again at every tenth of Timing.Write.
	Gate func() error
	// DialBackoff is shared by links to one server, so that a stop-receiving on one of
	// them keeps all of them from dialing; nil: the link's own.
	DialBackoff *DialBackoff
	// Dial connects; nil: a net.Dialer.
	Dial DialFunc
	// Timing shortens or lengthens the protocol's times.
	Timing Timing
	// Log gets connections coming and going, and failed dials at V(1).
	Log logr.Logger
}

// Link holds one connection at a time. See Run.
type Link struct {
	opts    Options
	running atomic.Bool
}

// ErrRunning reports a second Run of what can run once only at a time.
var ErrRunning = errors.New("already running")

// New returns a Link that does nothing until Run.
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

// Run connects, and connects again, until ctx is done; then it closes the
// connection and returns nil, once every goroutine it started has ended. It
// returns ErrRunning where another Run is under way.
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
		healthy := l.once(ctx)
		if healthy {
			failures = 0
		}
		if !sleep(ctx, l.backoff(failures)) {
			return nil
		}
		failures++
	}
}

// once dials and holds the connection until it ends. It reports whether the
// connection was of use, so that the next dial need not wait long.
func (l *Link) once(ctx context.Context) bool {
	nc, err := l.dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.opts.Log.V(1).Info("cannot connect", "reason", err.Error())
		}
		return false
	}
	if l.opts.DialBackoff.remaining() > 0 || ctx.Err() != nil {
		// The server said that it is about to exit while this dial was under
		// way, and will not say so again.
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

// backoff returns the pause before the next dial after so many failures.
func (l *Link) backoff(failures int) time.Duration {
	t := l.opts.Timing
	bound := t.BackoffMin
	for range failures {
		if bound >= t.BackoffMax/2 {
			bound = t.BackoffMax
			break
		}
		bound *= 2
	}
	return jitter(bound)
}

// jitter returns a duration drawn evenly from zero to bound.
func jitter(bound time.Duration) time.Duration {
	if bound <= 0 {
		return 0
	}
	return rand.N(bound + 1)
}

// sleep returns true after d, and false once ctx is done.
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
