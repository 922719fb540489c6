// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

func TestHeartbeats(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		begun := time.Now()
		peer.Elapse(12 * time.Second)
		wantSend(t, "Send", c.Send(t.Context(), frame(wire.CommandUsersInfoReq, 7)))
		peer.Elapse(10 * time.Second)
		want := []peer.Arrival{
			{Command: wire.CommandHeartBeat, At: begun.Add(5 * time.Second)},
			{Command: wire.CommandHeartBeat, At: begun.Add(10 * time.Second)},
			{Command: wire.CommandUsersInfoReq, Seq: 7, At: begun.Add(12 * time.Second)},
			{Command: wire.CommandHeartBeat, At: begun.Add(17 * time.Second)},
			{Command: wire.CommandHeartBeat, At: begun.Add(22 * time.Second)},
		}
		if diff := cmp.Diff(want, server.Arrivals()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestHeartbeatBytes(t *testing.T) {
	rawBubble(t, Options{}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		got := make([]byte, 16)
		if _, err := io.ReadFull(server, got); err != nil {
			t.Error(err)
		}
		if want := []byte{3: 16, 5: 1, 9: 7, 10: 7, 11: 1, 15: 0}; !bytes.Equal(got, want) {
			t.Errorf("heartbeat %x, want %x", got, want)
		}
	})
}

func TestSilence(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		begun := time.Now()
		for range 4 {
			peer.Elapse(29 * time.Second)
			server.SendRaw(frame(wire.CommandHeartBeat, 0))
		}
		peer.WantErr(t, "down", <-h.down, ErrSilent)
		wantElapsed(t, "down", begun, 4*29*time.Second+30*time.Second)
		<-h.up
		h.stop()
		h.wantEvents(t, "up", "down", "up", "down")
	})
}

func TestReconnect(t *testing.T) {
	cases := map[string]struct {
		fail     bool
		sends    []byte        // by the server, before it closes
		lasts    time.Duration // until it closes
		wantMost time.Duration // between dials, at most, after many
		wantDown error
	}{
		"refused":              {fail: true, wantMost: 30 * time.Second},
		"closed at once":       {wantMost: 30 * time.Second, wantDown: errPeerGone},
		"closed inside frame":  {sends: []byte{0, 0}, wantMost: 30 * time.Second, wantDown: errPeerGone},
		"closed after a frame": {sends: frame(wire.CommandHeartBeat, 0), wantMost: restartBackoff, wantDown: errPeerGone},
		"closed after a while": {
			sends: frame(wire.CommandHeartBeat, 0), lasts: 2 * time.Second, wantMost: 100 * time.Millisecond, wantDown: errPeerGone,
		},
		"a frame and garbage": {
			sends: append(frame(wire.CommandHeartBeat, 0), make([]byte, 16)...), wantMost: 30 * time.Second, wantDown: ErrProtocol,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := peer.Listen(t)
				l.Refuse, l.Raw = tc.fail, true
				h := run(t, l, Options{})
				rounds := 30
				if tc.fail {
					rounds = 300
					peer.Elapse(time.Duration(rounds) * 30 * time.Second)
				} else {
					for range rounds {
						server := <-h.Conns
						server.SendRaw(tc.sends)
						peer.Elapse(tc.lasts)
						if !errors.Is(tc.wantDown, ErrProtocol) {
							_ = server.Close()
						}
						peer.WantErr(t, "down", <-h.down, tc.wantDown)
					}
				}
				h.stop()
				bound, longest := 100*time.Millisecond, time.Duration(0)
				pauses := h.Pauses()
				for i, pause := range pauses {
					pause -= tc.lasts
					longest = max(longest, pause)
					if pause > bound {
						t.Errorf("dial %d after %v, want up to %v", i+1, pause, bound)
					}
					bound = min(2*bound, tc.wantMost)
				}
				if len(pauses) < rounds-1 || longest < tc.wantMost/2 {
					t.Errorf("%d pauses, the longest %v", len(pauses), longest)
				}
				// Of hundreds, the longest pause is close to the limit.
				if tc.fail && longest < 27*time.Second {
					t.Errorf("the longest of %d pauses is %v", len(pauses), longest)
				}
			})
		})
	}
}

// TestRestart: a peer that was up is dialed often for a while, however long it is away.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := peer.Listen(t)
		h := run(t, l, Options{})
		server := <-h.Conns
		server.SendRaw(frame(wire.CommandHeartBeat, 0))
		peer.Elapse(10 * time.Second)
		l.Refuse = true
		_ = server.Close()
		peer.Elapse(recentlyUp)
		dials := len(l.Pauses())
		if most := slices.Max(l.Pauses()[1:]); most > restartBackoff || dials > 1000 {
			t.Errorf("%d dials, up to %s apart", dials, most)
		}
		peer.Elapse(time.Hour)
		h.stop()
		pauses := l.Pauses()
		if n := len(pauses) - dials; n < 60 || n > 400 || slices.Max(pauses) < 20*time.Second {
			t.Errorf("%d dials in the hour after, up to %s apart", n, slices.Max(pauses))
		}
	})
}

func TestBadLength(t *testing.T) {
	for _, length := range []uint32{0, 1, 4, 15, pdu.MaxSkip + 1, 1 << 31, 0xFFFFFFFF} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
				bad := frame(wire.CommandMsgData, 0)
				binary.BigEndian.PutUint32(bad, length)
				server.SendRaw(append(frame(wire.CommandMsgData, 1), bad...))
				peer.WantErr(t, "down", <-h.down, ErrProtocol, pdu.ErrLength)
				if _, open := <-server.Requests; open {
					t.Error("the connection is still open")
				}
				wantSend(t, "Send", c.Send(t.Context(), frame(wire.CommandMsgData, 2)), ErrNotSent, ErrClosed)
			})
		})
	}
}

// TestNotReadIsSkipped: what a handler does not read of a frame is skipped, and so is the body of a heartbeat.
func TestNotReadIsSkipped(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		body := bytes.Repeat([]byte("body"), 1<<20)
		h.onFrame = func(f *pdu.Frame) {
			if got, err := io.ReadAll(io.LimitReader(f, int64(f.Seq))); err != nil || !bytes.HasPrefix(body, got) || len(got) != min(int(f.Seq), f.Len-pdu.HeaderLen) {
				t.Errorf("frame %d: read %q, %v", f.Seq, got, err)
			}
		}
		for _, seq := range []uint16{0, 3} {
			server.SendRaw(pdu.PDU{Command: wire.CommandMsgListRsp, Seq: seq, Body: body}.Append(nil))
		}
		server.SendRaw(pdu.PDU{Command: wire.CommandHeartBeat, Body: body}.Append(nil))
		server.SendRaw(pdu.PDU{Command: wire.CommandMsgData, Seq: 7, Body: body[:4]}.Append(nil))
		h.wantEvents(t, "up", "frame 0", "frame 3", "frame 7")
	})
}

// TestReadBefore: a frame that arrives too slowly cannot be read any more. The rest of it is skipped, and the
// connection goes on.
func TestReadBefore(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		begun := time.Now()
		h.onFrame = func(f *pdu.Frame) {
			if f.Seq != 1 {
				return
			}
			c.ReadBefore(begun.Add(3 * time.Second))
			_, err := io.ReadAll(f)
			peer.WantErr(t, "read", err, ErrSlowFrame)
			wantElapsed(t, "read", begun, 3*time.Second)
		}
		slow := pdu.PDU{Command: wire.CommandMsgListRsp, Seq: 1, Body: make([]byte, 100)}.Append(nil)
		server.SendRaw(slow[:pdu.HeaderLen])
		for _, b := range slow[pdu.HeaderLen:] { // it makes progress until its end
			peer.Elapse(time.Second)
			server.SendRaw([]byte{b})
		}
		server.SendRaw(frame(wire.CommandMsgData, 2))
		h.wantEvents(t, "up", "frame 1", "frame 2")
		peer.Elapse(10 * time.Second)
		server.SendRaw(frame(wire.CommandMsgData, 3)) // later than the time of the first
		h.wantEvents(t, "up", "frame 1", "frame 2", "frame 3")
	})
}

// TestReadBeforeOfLimited: a frame is not slow because it is read at the rate of the limiter.
func TestReadBeforeOfLimited(t *testing.T) {
	const rate, body = 4 << 10, 64 << 10
	limiter := NewReadLimiter(rate)
	bubble(t, Options{Reads: limiter}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		limiter.ReserveN(time.Now(), readBurst-10*rate)
		h.onFrame = func(f *pdu.Frame) {
			end := time.Now().Add(time.Second)
			for range body / bufferLen { // as if it waited for the memory of each piece
				c.ReadBefore(end)
				_, err := io.ReadFull(f, make([]byte, bufferLen))
				peer.WantErr(t, "read", err)
			}
		}
		server.SendRaw(pdu.PDU{Command: wire.CommandMsgListRsp, Seq: 1, Body: make([]byte, body)}.Append(nil))
		h.wantEvents(t, "up", "frame 1")
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
			bubble(t, Options{}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
				stopped := time.Now()
				for range 2 { // the second changes nothing
					server.SendRaw(frame(wire.CommandStopReceiving, 0))
				}
				synctest.Wait()
				wantSend(t, "Send", c.Send(t.Context(), frame(wire.CommandMsgData, 1)), ErrNotSent, ErrDraining)
				server.SendRaw(frame(wire.CommandMsgData, 9))
				if tc.closesAfter > 0 {
					peer.Elapse(tc.closesAfter)
					_ = server.Close()
				} else {
					for range 5 {
						peer.Elapse(5 * time.Second)
						server.SendRaw(frame(wire.CommandHeartBeat, 0))
					}
				}
				peer.WantErr(t, "down", <-h.down, tc.wantDown)
				wantElapsed(t, "down", stopped, tc.wantAfter)
				<-h.up
				away := time.Since(stopped)
				if most := max(6*time.Second, tc.wantAfter) + 100*time.Millisecond; away < 5*time.Second || away > most {
					t.Errorf("dialed again after %v", away)
				}
				h.wantEvents(t, "up", "draining", "frame 9", "down", "up")
				wantCommands(t, server)
			})
		})
	}
}

// TestDialBackoffIsShared: a dial that ends after the server announced its exit is not used, and no other one is
// started.
func TestDialBackoffIsShared(t *testing.T) {
	dialBackoff := &DialBackoff{}
	bubble(t, Options{DialBackoff: dialBackoff}, func(t *testing.T, first *harness, c *Conn, server *peer.Conn) {
		l, release := peer.Listen(t), make(chan struct{})
		l.Raw = true
		second := run(t, l, Options{
			DialBackoff: dialBackoff,
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				<-release
				return l.Dial(ctx, network, address)
			},
		})
		synctest.Wait() // the second link dials
		begun := time.Now()
		server.SendRaw(frame(wire.CommandStopReceiving, 0))
		synctest.Wait()
		close(release)
		if _, err := (<-second.Conns).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the late dial was used: %v", err)
		}
		<-second.up
		if away := time.Since(begun); away < 5*time.Second || away > 6*time.Second+100*time.Millisecond {
			t.Errorf("the other link is up after %v", away)
		}
	})
}

func TestDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waited := make(chan time.Duration, 100)
		h := run(t, peer.Listen(t), Options{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			begun := time.Now()
			<-ctx.Done()
			waited <- time.Since(begun)
			return nil, ctx.Err()
		}})
		if d := <-waited; d != 10*time.Second {
			t.Errorf("a dial took %v", d)
		}
		h.stop()
		h.wantEvents(t)
	})
}

func TestStopped(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, c *Conn, server *peer.Conn) {
		h.stop()
		peer.WantErr(t, "down", <-h.down, context.Canceled)
	})
}

// TestCancelled: a link ends with its context in every phase.
func TestCancelled(t *testing.T) {
	cases := map[string]func(l *peer.Listener, o *Options, cancel func()){
		"before":              func(_ *peer.Listener, _ *Options, cancel func()) { cancel() },
		"in the dial backoff": func(_ *peer.Listener, o *Options, _ func()) { o.DialBackoff.extend(time.Hour) },
		"in backoff":          func(l *peer.Listener, _ *Options, _ func()) { l.Refuse = true },
		"as a dial succeeds": func(l *peer.Listener, o *Options, cancel func()) {
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				cancel()
				return l.Dial(ctx, network, address)
			}
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				h, l := newRecorder(), peer.Listen(t)
				o := Options{Address: peer.Address, Up: h.Up, DialBackoff: &DialBackoff{}, Dial: l.Dial}
				prepare(l, &o, cancel)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					Run(ctx, o)
				}()
				peer.Elapse(time.Minute)
				cancel()
				<-ended
				h.wantEvents(t)
			})
		})
	}
}

// TestReadLimit: a peer that sends as much as it can is read at the rate of the limiter, whether its frames are long or
// short. What other links read counts as well.
func TestReadLimit(t *testing.T) {
	const rate, seconds = 1 << 20, 10
	long := pdu.PDU{Command: wire.CommandMsgListRsp, Body: make([]byte, 100<<10)}.Append(nil)
	tests := map[string]struct {
		frame, write int // bytes
		wantMost     int // frames per second
	}{
		"long frames":             {len(long), len(long), rate / len(long)},
		"short frames together":   {pdu.HeaderLen, 1000 * pdu.HeaderLen, rate / frameCost},
		"short frames":            {pdu.HeaderLen, pdu.HeaderLen, rate / readCost},
		"a short frame in pieces": {pdu.HeaderLen, 1, rate / readCost / pdu.HeaderLen},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limiter := NewReadLimiter(rate)
				limiter.ReserveN(time.Now(), readBurst) // the burst is used up
				h := run(t, peer.Listen(t), Options{Reads: limiter})
				server := <-h.Conns
				var frames atomic.Int64
				h.onFrame = func(*pdu.Frame) { frames.Add(1) }
				b := bytes.Repeat(long[:tc.frame], max(1, tc.write/tc.frame))
				if tc.frame == pdu.HeaderLen {
					b = bytes.Repeat(frame(wire.CommandMsgData, 0), max(1, tc.write/tc.frame))
				}
				for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); {
					for piece := range slices.Chunk(b, tc.write) {
						server.SendRaw(piece)
					}
				}
				if per := int(frames.Load()) / seconds; per > tc.wantMost+10 || per < tc.wantMost/4 {
					t.Errorf("%d frames per second, want up to %d", per, tc.wantMost)
				}
			})
		})
	}
}
