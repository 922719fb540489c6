// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testAddress = "router.example:8200"

// harness is a running Client and the router's ends of its connections.
type harness struct {
	*Client
	t       *testing.T
	routers chan net.Conn
	changes atomic.Int32
	cancel  context.CancelFunc
	ended   chan struct{}
}

func run(t *testing.T, gate func() error, change ...func(*Options)) *harness {
	t.Helper()
	h := &harness{t: t, routers: make(chan net.Conn, 100), ended: make(chan struct{})}
	o := Options{
		Address:  testAddress,
		Gate:     gate,
		OnChange: func() { h.changes.Add(1) },
		Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			if network != "tcp" || address != testAddress {
				t.Errorf("dialed %s %s", network, address)
			}
			ours, theirs := net.Pipe()
			h.routers <- theirs
			return ours, nil
		},
	}
	for _, c := range change {
		c(&o)
	}
	h.Client = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	h.cancel = cancel
	go func() {
		defer close(h.ended)
		h.Run(ctx)
	}()
	synctest.Wait()
	return h
}

func (h *harness) stop() {
	h.t.Helper()
	h.cancel()
	<-h.ended
}

// route routes m in the background.
func (h *harness) route(ctx context.Context, m dbproxy.Message, id uint32) <-chan error {
	outcome := make(chan error, 1)
	go func() { outcome <- h.Route(ctx, m, id) }()
	synctest.Wait()
	return outcome
}

// frame is what another peer of the router was seen to receive.
func frame(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("../testdata/frames.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Frames []map[string]*string }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, f := range file.Frames {
		if *f["name"] == name {
			b, err := hex.DecodeString(*f["peer_receives"])
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatalf("%s was not recorded", name)
	return nil
}

// recorded is the message in the frame route_message.
func recorded() dbproxy.Message {
	return dbproxy.Message{
		From: 1, To: 150, CreateTime: 1795409000,
		Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT, Data: []byte("nnZSBwfPCz60q69ddmfIJA=="),
	}
}

func TestRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, nil)
		router := <-h.routers
		outcome := h.route(t.Context(), recorded(), 1)
		want := frame(t, "route_message")
		got := make([]byte, len(want))
		if _, err := io.ReadFull(router, got); err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("routed\n%x, want\n%x", got, want)
		}
		p := listen(t, router)
		p.answer(<-p.questions, 0)
		if err := <-outcome; err != nil {
			t.Error(err)
		}
		h.stop()
	})
}

// TestAnnounce: what message servers pass on to the members of a group that changed.
func TestAnnounce(t *testing.T) {
	for name, tc := range map[string]struct {
		change dbproxy.MemberChange
		want   string
	}{
		"added":   {dbproxy.MemberChange{By: 1, Group: 7, Members: []uint32{30}}, "0801" + "1001" + "1807" + "2001201e" + "281e"},
		"removed": {dbproxy.MemberChange{By: 1, Group: 7, Remove: true, Members: []uint32{30}}, "0801" + "1002" + "1807" + "2001201e" + "281e"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := run(t, nil)
				router := <-h.routers
				outcome := make(chan error, 1)
				go func() {
					outcome <- h.Announce(t.Context(), tc.change, dbproxy.Membership{Current: []uint32{1, 30}, Changed: []uint32{30}})
				}()
				// Length, version 1, flag 0, service 4, command 0x040b, seq 0, reserved.
				want := "0000001c" + "00010000" + "0004040b" + "00000000" + tc.want
				got := make([]byte, len(want)/2)
				if _, err := io.ReadFull(router, got); err != nil {
					t.Fatal(err)
				}
				if hex.EncodeToString(got) != want {
					t.Errorf("announced\n%x, want\n%s", got, want)
				}
				p := listen(t, router)
				p.answer(<-p.questions, 0)
				if err := <-outcome; err != nil {
					t.Error(err)
				}
				h.stop()
			})
		})
	}
}

// TestReadsEverything: what the router relays is taken off the wire, whatever
// it is.
func TestReadsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, nil)
		router := <-h.routers
		long := pdu.PDU{Command: wire.CommandMsgData, Body: make([]byte, pdu.MaxIn)}.Append(nil)
		for range 100 {
			for _, b := range [][]byte{frame(t, "read_notify"), frame(t, "route_message"), long} {
				if _, err := router.Write(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		if h.ConnectedSince().IsZero() || h.changes.Load() != 1 {
			t.Errorf("connected since %v, %d changes reported", h.ConnectedSince(), h.changes.Load())
		}
		h.stop()
	})
}

func TestNotSent(t *testing.T) {
	errGate := errors.New("gate closed")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	large := recorded()
	large.Data = make([]byte, pdu.MaxToClients)
	cases := map[string]struct {
		ctx     context.Context
		gate    func() error
		message dbproxy.Message
		offline bool
		want    error
	}{
		"not connected": {message: recorded(), offline: true, want: ErrNotConnected},
		"gate closed":   {message: recorded(), gate: func() error { return errGate }, want: errGate},
		"context done":  {message: recorded(), ctx: cancelled, want: context.Canceled},
		"too large":     {message: large, want: ErrTooLarge},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &harness{Client: New(Options{}), t: t}
				if !tc.offline {
					h = run(t, tc.gate)
					defer h.stop()
				}
				ctx := tc.ctx
				if ctx == nil {
					ctx = t.Context()
				}
				err := <-h.route(ctx, tc.message, 1)
				if !errors.Is(err, ErrNotSent) || !errors.Is(err, tc.want) || errors.Is(err, ErrMaybeSent) {
					t.Errorf("Route: %v, want %v", err, tc.want)
				}
			})
		})
	}
}

// TestLargest: the limit is on the frame, and is what still goes.
func TestLargest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, nil)
		listener := listen(t, <-h.routers)
		m := recorded()
		p, err := pdu.New(wire.CommandMsgData, 0, m.Wire(1))
		if err != nil {
			t.Fatal(err)
		}
		// The length of so much data takes two bytes more.
		m.Data = make([]byte, pdu.MaxToClients-p.Len()+len(m.Data)-2)
		outcome := h.route(t.Context(), m, 1)
		listener.answer(<-listener.questions, 0)
		if err := <-outcome; err != nil || listener.length != pdu.MaxToClients {
			t.Errorf("%d bytes came: %v", listener.length, err)
		}
		m.Data = append(m.Data, 0)
		if err := <-h.route(t.Context(), m, 1); !errors.Is(err, ErrTooLarge) {
			t.Errorf("one byte more: %v", err)
		}
		h.stop()
	})
}

func TestMaybeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, nil)
		router := <-h.routers
		outcome := h.route(t.Context(), recorded(), 1)
		if _, err := router.Read(make([]byte, 5)); err != nil {
			t.Error(err)
		}
		_ = router.Close()
		if err := <-outcome; !errors.Is(err, ErrMaybeSent) || errors.Is(err, ErrNotSent) {
			t.Errorf("Route: %v", err)
		}
		h.stop()
	})
}

func TestConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, nil)
		check := func(what string, since time.Time, changes int32) {
			t.Helper()
			synctest.Wait()
			if !h.ConnectedSince().Equal(since) || h.changes.Load() != changes {
				t.Errorf("%s: since %v, %d changes reported", what, h.ConnectedSince(), h.changes.Load())
			}
		}
		router := <-h.routers
		check("at first", time.Now(), 1)
		go func() { _, _ = io.Copy(io.Discard, router) }()
		elapse(20 * time.Second)
		check("later", time.Now().Add(-20*time.Second), 1)

		stop := pdu.PDU{Service: wire.ServiceOther, Command: wire.CommandStopReceiving}
		if _, err := router.Write(stop.Append(nil)); err != nil {
			t.Error(err)
		}
		check("draining", time.Time{}, 2)
		_ = router.Close()
		check("closed", time.Time{}, 2)
		router = <-h.routers
		check("again", time.Now(), 3)
		_ = router.Close()
		check("lost", time.Time{}, 4)
		<-h.routers
		check("once more", time.Now(), 5)
		h.stop()
		check("ended", time.Time{}, 6)
	})
}

// TestNobodyListening: without OnChange nothing is told.
func TestNobodyListening(t *testing.T) {
	c := New(Options{Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		_ = theirs.Close()
		return ours, nil
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	c.Run(ctx)
}

// elapse lets the bubble's clock run: no time passes outside of it.
func elapse(d time.Duration) { <-time.After(d) }
