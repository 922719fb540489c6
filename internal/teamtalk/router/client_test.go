// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
	"github.com/teamtalk-io/teamtalk-operator/test/recorded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness is a running Client and its router.
type harness struct {
	*Client
	*peer.Listener
	changes atomic.Int32
	stop    func()
}

// runOn starts a Client in a synctest bubble.
func runOn(t *testing.T, l *peer.Listener, opts Options) *harness {
	t.Helper()
	h := &harness{Listener: l}
	opts.Address, opts.Dial, opts.OnChange = peer.Address, l.Dial, func() { h.changes.Add(1) }
	h.Client = New(opts)
	h.stop = peer.Start(t, h.Run)
	synctest.Wait()
	return h
}

// bubble runs f in a synctest bubble with a running Client and the router's end of its connection.
func bubble(t *testing.T, opts Options, f func(t *testing.T, h *harness, router *peer.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := runOn(t, peer.Listen(t), opts)
		f(t, h, <-h.Conns)
	})
}

// route routes message in the background.
func (h *harness) route(ctx context.Context, id uint32) <-chan error {
	return peer.Async(func() error { return h.Route(ctx, message(), id) })
}

// wantMaybeSent checks that a message may have been sent.
func wantMaybeSent(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrMaybeSent) || errors.Is(err, ErrNotSent) {
		t.Errorf("Route: %v, want %v", err, ErrMaybeSent)
	}
}

// stopReceiving makes the connection drain.
func stopReceiving(router *peer.Conn) {
	router.Send(wire.CommandStopReceiving, 0, &wire.IMStopReceivePacket{Result: proto.Uint32(0)})
	synctest.Wait()
}

// answer answers a ping. offset is added to the handle.
func answer(t *testing.T, router *peer.Conn, ping pdu.PDU, offset byte) {
	t.Helper()
	asked := &wire.IMUsersStatReq{}
	err := proto.Unmarshal(ping.Body, asked)
	if err != nil || ping.Command != wire.CommandUsersStatReq || asked.GetUserId() != 1 || len(asked.GetUserIdList()) != 1 {
		t.Errorf("command %#04x: %v %v", uint16(ping.Command), asked, err)
	}
	attach := asked.GetAttachData()
	attach[7] += offset
	router.Send(wire.CommandUsersStatRsp, ping.Seq, &wire.IMUsersStatRsp{UserId: asked.UserId, AttachData: attach})
	synctest.Wait()
}

// nextPing returns the next ping, after n messages.
func nextPing(t *testing.T, router *peer.Conn, n int) pdu.PDU {
	t.Helper()
	for range n {
		if p := router.Next(); p.Command != wire.CommandMsgData {
			t.Errorf("command %#04x, want a message", uint16(p.Command))
		}
	}
	return router.Next()
}

// wantRoutes routes a message, which the router answers.
func (h *harness) wantRoutes(t *testing.T, router *peer.Conn) {
	t.Helper()
	synctest.Wait()
	outcome := h.route(t.Context(), 1)
	answer(t, router, nextPing(t, router, 1), 0)
	peer.WantErr(t, "Route", <-outcome)
}

// message is the message in the recorded frame route_message.
func message() dbproxy.Message {
	return dbproxy.Message{
		From: 1, To: 150, CreateTime: 1795409000,
		Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT, Data: []byte("nnZSBwfPCz60q69ddmfIJA=="),
	}
}

func TestRoute(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
		outcome := h.route(t.Context(), 1)
		if got, want := router.Next().Append(nil), recorded.Named(t, "route_message").PeerReceives; !bytes.Equal(got, want) {
			t.Errorf("routed\n%x, want\n%x", got, want)
		}
		answer(t, router, router.Next(), 0)
		peer.WantErr(t, "Route", <-outcome)
	})
}

// TestAnnounce sends what message servers pass on to the members of a changed group.
func TestAnnounce(t *testing.T) {
	members := dbproxy.Membership{Current: []uint32{1, 30}, Changed: []uint32{30}}
	for name, tc := range map[string]struct {
		change dbproxy.MemberChange
		want   string
	}{
		"added":   {dbproxy.MemberChange{By: 1, Group: 7, Members: []uint32{30}}, "0801" + "1001" + "1807" + "2001201e" + "281e"},
		"removed": {dbproxy.MemberChange{By: 1, Group: 7, Remove: true, Members: []uint32{30}}, "0801" + "1002" + "1807" + "2001201e" + "281e"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
				outcome := peer.Async(func() error { return h.Announce(t.Context(), tc.change, members) })
				// Length, version 1, flag 0, service 4, command 0x040b, seq 0, reserved.
				want := "0000001c" + "00010000" + "0004040b" + "00000000" + tc.want
				if got := hex.EncodeToString(router.Next().Append(nil)); got != want {
					t.Errorf("announced\n%s, want\n%s", got, want)
				}
				answer(t, router, router.Next(), 0)
				peer.WantErr(t, "Announce", <-outcome)
			})
		})
	}
}

// TestReadsEverything reads whatever the router relays.
func TestReadsEverything(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
		long := pdu.PDU{Command: wire.CommandMsgData, Body: make([]byte, pdu.MaxIn)}.Append(nil)
		read, message := recorded.Named(t, "read_notify").PeerReceives, recorded.Named(t, "route_message").PeerReceives
		for range 100 {
			for _, b := range [][]byte{read, message, long} {
				router.SendRaw(b)
			}
		}
		h.wantState(t, time.Now(), 1)
	})
}

// wantState checks the time of the connect and how often a change was reported.
func (h *harness) wantState(t *testing.T, since time.Time, changes int32) {
	t.Helper()
	synctest.Wait()
	if got := h.ConnectedSince(); !got.Equal(since) || h.changes.Load() != changes {
		t.Errorf("connected since %v after %d changes, want %v after %d", got, h.changes.Load(), since, changes)
	}
}

func TestNotSent(t *testing.T) {
	errGate := errors.New("gate closed")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	large := message()
	large.Data = make([]byte, pdu.MaxToClients)
	cases := map[string]struct {
		ctx     context.Context
		gate    func() error
		message dbproxy.Message
		offline bool
		want    error
	}{
		"not connected": {message: message(), offline: true, want: ErrNotConnected},
		"gate closed":   {message: message(), gate: func() error { return errGate }, want: errGate},
		"context done":  {message: message(), ctx: cancelled, want: context.Canceled},
		"too large":     {message: large, want: ErrTooLarge},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(Options{})
				if !tc.offline {
					c = runOn(t, peer.Listen(t), Options{Gate: tc.gate}).Client
				}
				err := c.Route(cmp.Or(tc.ctx, t.Context()), tc.message, 1)
				peer.WantErr(t, "Route", err, ErrNotSent, tc.want)
				if errors.Is(err, ErrMaybeSent) {
					t.Errorf("Route: %v", err)
				}
			})
		})
	}
}

// TestLargest sends a frame at the limit, and not one over it.
func TestLargest(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
		m := message()
		p, err := pdu.New(wire.CommandMsgData, 0, m.Wire(1))
		if err != nil {
			t.Fatal(err)
		}
		// The length of so much data takes two bytes more.
		m.Data = make([]byte, pdu.MaxToClients-p.Len()+len(m.Data)-2)
		outcome := peer.Async(func() error { return h.Route(t.Context(), m, 1) })
		if n := router.Next().Len(); n != pdu.MaxToClients {
			t.Errorf("%d bytes arrived", n)
		}
		answer(t, router, router.Next(), 0)
		peer.WantErr(t, "Route", <-outcome)
		m.Data = append(m.Data, 0)
		peer.WantErr(t, "one byte more", h.Route(t.Context(), m, 1), ErrTooLarge)
	})
}

func TestMaybeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := peer.Listen(t)
		l.Raw = true
		h := runOn(t, l, Options{})
		router := <-h.Conns
		outcome := h.route(t.Context(), 1)
		if _, err := router.Read(make([]byte, 5)); err != nil {
			t.Error(err)
		}
		_ = router.Close()
		wantMaybeSent(t, <-outcome)
	})
}

func TestConnected(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
		h.wantState(t, time.Now(), 1)
		peer.Elapse(20 * time.Second)
		h.wantState(t, time.Now().Add(-20*time.Second), 1)
		stopReceiving(router)
		h.wantState(t, time.Time{}, 2)
		_ = router.Close()
		h.wantState(t, time.Time{}, 2)
		router = <-h.Conns
		h.wantState(t, time.Now(), 3)
		_ = router.Close()
		h.wantState(t, time.Time{}, 4)
		<-h.Conns
		h.wantState(t, time.Now(), 5)
		h.stop()
		h.wantState(t, time.Time{}, 6)
	})
}

// TestNoOnChange runs without OnChange.
func TestNoOnChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := peer.Listen(t)
		stop := peer.Start(t, New(Options{Address: peer.Address, Dial: l.Dial}).Run)
		<-l.Conns
		stop()
	})
}
