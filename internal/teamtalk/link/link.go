// SPDX-License-Identifier: Apache-2.0

package link

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

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
	// BackoffMin to BackoffMax. A connection that received a frame and has lasted resets it. Default 100 ms and 30 s.
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

// Options configure a link.
type Options struct {
	// Address is host:port. The host is resolved at each dial.
	Address string
	// Up is called when a connection is up and can send, and returns the handler of its events. It is required.
	Up func(*Conn) Handler
	// Gate is called before frames are written, but not before heartbeats. If it returns an error, the frames
	// fail with that error. During a slow write, it is called again after each tenth of Timing.Write.
	// It may be nil.
	Gate func() error
	// DialBackoff is shared by the links to a server, so that a stop-receiving on one of them delays the dials
	// of all. If nil, the link has its own.
	DialBackoff *DialBackoff
	// Reads, if set, limits the bytes that are read per second. Links may share it. Each read and each frame counts as
	// some additional bytes, because even short ones take time. See NewReadLimiter.
	Reads *rate.Limiter
	// Dial may be nil.
	Dial DialFunc
	// Timing overrides the times of the protocol.
	Timing Timing
	// Log is for connects, disconnects and, at V(1), failed dials.
	Log logr.Logger
}

const (
	// readBurst is the longest answer.
	readBurst = pdu.MaxSkip
	// readCost and frameCost are counted for a read and a frame in addition to their bytes. A read of one byte takes as
	// long as one of some KiB.
	readCost  = 1 << 10
	frameCost = 256
)

// NewReadLimiter returns a limiter of bytes per second for Options.Reads.
func NewReadLimiter(bytes int) *rate.Limiter { return rate.NewLimiter(rate.Limit(bytes), readBurst) }

// Run connects and reconnects until ctx is done. Then it closes the connection and returns when its
// goroutines have ended.
func Run(ctx context.Context, opts Options) {
	t := opts.Timing.withDefaults()
	opts.Timing = t
	if opts.DialBackoff == nil {
		opts.DialBackoff = &DialBackoff{}
	}
	if opts.Dial == nil {
		opts.Dial = (&net.Dialer{}).DialContext
	}
	backoff := redialBackoff{Timing: t, pause: t.BackoffMin}
	for ctx.Err() == nil {
		if held := opts.DialBackoff.remaining(); held > 0 {
			sleep(ctx, held)
			continue
		}
		begun := time.Now()
		switch received, err := opts.connectOnce(ctx); {
		case errors.Is(err, ErrFlood):
			backoff.flooded()
		case received && !errors.Is(err, ErrProtocol):
			backoff.up(begun, time.Now())
		}
		sleep(ctx, rand.N(backoff.next(time.Now())+1))
	}
}

const (
	// recentlyUp is how long a peer that was up is dialed at least once per restartBackoff: it is probably being
	// restarted.
	recentlyUp     = 5 * time.Minute
	restartBackoff = time.Second
)

// redialBackoff is the limit of the pause before the next dial.
type redialBackoff struct {
	Timing
	pause  time.Duration
	lastUp time.Time
}

// up notes a connection that received a frame. One that has lasted resets the limit: a peer that ends each of them at
// once is dialed about twice per second.
func (b *redialBackoff) up(begun, ended time.Time) {
	b.lastUp = ended
	if ended.Sub(begun) >= restartBackoff {
		b.pause = b.BackoffMin
	}
}

// flooded has a peer that floods dialed as rarely as possible.
func (b *redialBackoff) flooded() { b.pause, b.lastUp = b.BackoffMax, time.Time{} }

// next returns the limit, and doubles it.
func (b *redialBackoff) next(now time.Time) time.Duration {
	most := b.BackoffMax
	if !b.lastUp.IsZero() && now.Sub(b.lastUp) < recentlyUp {
		most = min(most, restartBackoff)
	}
	pause := min(b.pause, most)
	b.pause = min(2*pause, b.BackoffMax)
	return pause
}

// connectOnce dials and waits until the connection ends. It returns whether the connection received a frame, and why it
// has ended.
func (o Options) connectOnce(ctx context.Context) (received bool, err error) {
	nc, err := o.dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			o.Log.V(1).Info("cannot connect", "reason", err.Error())
		}
		return false, err
	}
	if o.DialBackoff.remaining() > 0 || ctx.Err() != nil {
		// The server announced its exit during the dial, and does not repeat it.
		_ = nc.Close()
		return false, ctx.Err()
	}
	o.Log.Info("connected")
	received, err = newConn(ctx, nc, o).run()
	o.Log.Info("disconnected", "reason", err.Error())
	return received, err
}

func (o Options) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timing.Dial)
	defer cancel()
	return o.Dial(ctx, "tcp", o.Address)
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// DialBackoff delays dials to a server that is about to exit. The zero value delays nothing. It is safe for
// concurrent use.
type DialBackoff struct {
	mu    sync.Mutex
	until time.Time
}

// extend delays dials for at least d from now.
func (b *DialBackoff) extend(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until := time.Now().Add(d); until.After(b.until) {
		b.until = until
	}
}

// remaining returns the remaining delay, which is not positive if there is none.
func (b *DialBackoff) remaining() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Until(b.until)
}
