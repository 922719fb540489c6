// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := newRecorder(), newDials(t)
		stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial})
		c, peer := <-h.up, <-d.accepted
		arrivals := collect(peer, time.Now())
		elapse(12 * time.Second)
		if err := c.Send(t.Context(), frame(wire.CommandUsersInfoReq, 7)); err != nil {
			t.Error(err)
		}
		elapse(10*time.Second + time.Millisecond)
		want := []arrival{
			{Command: wire.CommandHeartBeat, After: 5 * time.Second},
			{Command: wire.CommandHeartBeat, After: 10 * time.Second},
			{Command: wire.CommandUsersInfoReq, Seq: 7, After: 12 * time.Second},
			{Command: wire.CommandHeartBeat, After: 17 * time.Second},
			{Command: wire.CommandHeartBeat, After: 22 * time.Second},
		}
		if diff := cmp.Diff(want, arrivals()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		stop()
	})
}

func TestHeartbeatBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := newRecorder(), newDials(t)
		stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial})
		got := make([]byte, 16)
		if _, err := io.ReadFull(<-d.accepted, got); err != nil {
			t.Error(err)
		}
		if hex.EncodeToString(got) != "00000010000100000007070100000000" {
			t.Errorf("heartbeat %x", got)
		}
		stop()
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := newRecorder(), newDials(t)
		stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial})
		begun, peer := time.Now(), <-d.accepted
		collect(peer, begun)
		for range 4 {
			elapse(29 * time.Second)
			write(t, peer, frame(wire.CommandHeartBeat, 0))
		}
		if err := <-h.down; !errors.Is(err, errSilent) {
			t.Errorf("down: %v", err)
		}
		if lived := time.Since(begun); lived != 4*29*time.Second+30*time.Second {
			t.Errorf("lived %v", lived)
		}
		<-h.up
		<-h.up
		stop()
		if diff := cmp.Diff([]string{"up", "down", "up", "down"}, h.seen()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestReconnect(t *testing.T) {
	// bounds are those of the pauses between dials, in order; the last repeats.
	growing := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, time.Hour}
	steady := []time.Duration{100 * time.Millisecond}
	cases := map[string]struct {
		fail       bool
		sends      []byte // by the peer, before it closes
		wantBounds []time.Duration
		wantGrowth bool
		wantDown   error
	}{
		"refused":              {fail: true, wantBounds: growing, wantGrowth: true},
		"closed at once":       {wantBounds: growing, wantGrowth: true, wantDown: errPeerGone},
		"closed inside frame":  {sends: []byte{0, 0}, wantBounds: growing, wantGrowth: true, wantDown: errPeerGone},
		"closed after a frame": {sends: frame(wire.CommandHeartBeat, 0), wantBounds: steady, wantDown: errPeerGone},
		"a frame and garbage": {
			sends:      append(frame(wire.CommandHeartBeat, 0), make([]byte, 16)...),
			wantBounds: growing, wantGrowth: true, wantDown: ErrProtocol,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, d := newRecorder(), newDials(t)
				d.fail = tc.fail
				stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial})
				const rounds = 30
				if tc.fail {
					elapse(rounds * 30 * time.Second)
				} else {
					for range rounds {
						peer := <-d.accepted
						if tc.sends != nil {
							write(t, peer, tc.sends)
						}
						if !errors.Is(tc.wantDown, ErrProtocol) {
							_ = peer.Close()
						}
						if err := <-h.down; !errors.Is(err, tc.wantDown) {
							t.Fatalf("down: %v, want %v", err, tc.wantDown)
						}
					}
				}
				stop()
				var longest time.Duration
				gaps := d.gaps()
				for i, gap := range gaps {
					bound := tc.wantBounds[min(i, len(tc.wantBounds)-1)]
					longest = max(longest, gap)
					if gap > min(bound, 30*time.Second) {
						t.Errorf("dial %d came after %v, want up to %v", i+1, gap, bound)
					}
				}
				if len(gaps) < rounds-1 || longest > 2*time.Second != tc.wantGrowth {
					t.Errorf("%d pauses, the longest %v", len(gaps), longest)
				}
			})
		})
	}
}

func TestBadLength(t *testing.T) {
	for _, length := range []uint32{0, 1, 4, 15, pdu.MaxSkip + 1, 1 << 31, 0xFFFFFFFF} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, d := newRecorder(), newDials(t)
				stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial})
				c, peer := <-h.up, <-d.accepted
				bad := frame(wire.CommandMsgData, 0)
				binary.BigEndian.PutUint32(bad, length)
				write(t, peer, append(frame(wire.CommandMsgData, 1), bad...))
				if err := <-h.down; !errors.Is(err, ErrProtocol) || !errors.Is(err, pdu.ErrLength) {
					t.Errorf("down: %v", err)
				}
				if _, err := peer.Read(make([]byte, 1)); err == nil {
					t.Error("the connection is still open")
				}
				if err := c.Send(t.Context(), frame(wire.CommandMsgData, 2)); !errors.Is(err, ErrNotSent) || !errors.Is(err, ErrClosed) {
					t.Errorf("Send: %v", err)
				}
				stop()
			})
		})
	}
}

func TestTooLongIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := newRecorder(), newDials(t)
		stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial})
		peer := <-d.accepted
		collect(peer, time.Now())
		long := pdu.PDU{Command: wire.CommandMsgListRsp, Seq: 1, Body: make([]byte, pdu.MaxIn)}
		write(t, peer, long.Append(nil))
		write(t, peer, frame(wire.CommandMsgData, 2))
		<-h.frames
		<-h.frames
		if diff := cmp.Diff([]string{"up", "frame 1 too long", "frame 2"}, h.seen()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		stop()
	})
}

func TestStopReceiving(t *testing.T) {
	cases := map[string]struct {
		closesAfter time.Duration // 0: never, and sends heartbeats
		wantDown    error
		wantAfter   time.Duration
	}{
		"closes after 4 s": {closesAfter: 4 * time.Second, wantDown: errPeerGone, wantAfter: 4 * time.Second},
		"closes at once":   {closesAfter: 1, wantDown: errPeerGone, wantAfter: 1},
		"never closes":     {wantDown: errDrained, wantAfter: 30 * time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, d := newRecorder(), newDials(t)
				stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: d.dial})
				c, peer := <-h.up, <-d.accepted
				stopped := time.Now()
				arrivals := collect(peer, stopped)
				for range 2 { // the second changes nothing
					write(t, peer, frame(wire.CommandStopReceiving, 0))
				}
				synctest.Wait()
				if err := c.Send(t.Context(), frame(wire.CommandMsgData, 1)); !errors.Is(err, ErrNotSent) || !errors.Is(err, ErrDraining) {
					t.Errorf("Send: %v", err)
				}
				write(t, peer, frame(wire.CommandMsgData, 9))
				if tc.closesAfter > 0 {
					elapse(tc.closesAfter)
					_ = peer.Close()
				} else {
					for range 5 {
						elapse(5 * time.Second)
						write(t, peer, frame(wire.CommandHeartBeat, 0))
					}
				}
				if err := <-h.down; !errors.Is(err, tc.wantDown) {
					t.Errorf("down: %v, want %v", err, tc.wantDown)
				}
				if after := time.Since(stopped); after != tc.wantAfter {
					t.Errorf("down after %v, want %v", after, tc.wantAfter)
				}
				<-h.up
				away := time.Since(stopped)
				if most := max(6*time.Second, tc.wantAfter) + 100*time.Millisecond; away < 5*time.Second || away > most {
					t.Errorf("dialed again after %v", away)
				}
				if diff := cmp.Diff([]string{"up", "draining", "frame 9", "down", "up"}, h.seen()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if got := arrivals(); len(got) > 0 {
					t.Errorf("sent after stop-receiving: %v", got)
				}
				stop()
			})
		})
	}
}

// TestHoldIsShared: a dial that ends while the server is said to be exiting is
// of no use, and no other is begun.
func TestHoldIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialBackoff := &DialBackoff{}
		first, second := newRecorder(), newRecorder()
		d := newDials(t)
		release := make(chan struct{})
		slow := func(ctx context.Context, network, address string) (net.Conn, error) {
			<-release
			return d.dial(ctx, network, address)
		}
		stopFirst := start(t, Options{Address: testAddress, Up: first.Up, Dial: d.dial, DialBackoff: dialBackoff})
		stopSecond := start(t, Options{Address: testAddress, Up: second.Up, Dial: slow, DialBackoff: dialBackoff})
		peer := <-d.accepted
		synctest.Wait() // the second is dialling, too
		begun := time.Now()
		write(t, peer, frame(wire.CommandStopReceiving, 0))
		synctest.Wait()
		close(release)
		if _, err := (<-d.accepted).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the late dial was used: %v", err)
		}
		<-second.up
		if away := time.Since(begun); away < 5*time.Second || away > 6*time.Second+100*time.Millisecond {
			t.Errorf("the other link came back after %v", away)
		}
		stopFirst()
		stopSecond()
	})
}

func TestDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRecorder()
		waited := make(chan time.Duration, 100)
		stop := start(t, Options{Address: testAddress, Up: h.Up, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			begun := time.Now()
			<-ctx.Done()
			waited <- time.Since(begun)
			return nil, ctx.Err()
		}})
		if d := <-waited; d != 10*time.Second {
			t.Errorf("a dial took %v", d)
		}
		stop()
		if got := h.seen(); len(got) > 0 {
			t.Errorf("told of %v", got)
		}
	})
}

// TestCancelled: wherever a link is when its context ends, it ends.
func TestCancelled(t *testing.T) {
	cases := map[string]func(t *testing.T, d *dials, dialBackoff *DialBackoff, cancel func()) DialFunc{
		"before": func(_ *testing.T, d *dials, _ *DialBackoff, cancel func()) DialFunc { cancel(); return d.dial },
		"in the dial backoff": func(_ *testing.T, d *dials, dialBackoff *DialBackoff, _ func()) DialFunc {
			dialBackoff.extend(time.Hour)
			return d.dial
		},
		"in backoff": func(_ *testing.T, d *dials, _ *DialBackoff, _ func()) DialFunc { d.fail = true; return d.dial },
		"as a dial succeeds": func(_ *testing.T, d *dials, _ *DialBackoff, cancel func()) DialFunc {
			return func(ctx context.Context, network, address string) (net.Conn, error) {
				cancel()
				return d.dial(ctx, network, address)
			}
		},
	}
	for name, dial := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				h, d, dialBackoff := newRecorder(), newDials(t), &DialBackoff{}
				o := Options{Address: testAddress, Up: h.Up, DialBackoff: dialBackoff, Dial: dial(t, d, dialBackoff, cancel)}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					Run(ctx, o)
				}()
				elapse(time.Minute)
				cancel()
				<-ended
				if got := h.seen(); len(got) > 0 {
					t.Errorf("told of %v", got)
				}
			})
		})
	}
}
