// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

func wantPending(t *testing.T, outcomes ...<-chan error) {
	t.Helper()
	synctest.Wait()
	for _, outcome := range outcomes {
		select {
		case err := <-outcome:
			t.Errorf("Route returned %v before the router had read the message", err)
		default:
		}
	}
}

// TestConfirmed: a message is routed when the router has answered the ping after it, and no other frame counts as
// that answer.
func TestConfirmed(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
		outcome := h.route(t.Context(), 1)
		ping := nextPing(t, router, 1)
		wantPending(t, outcome)
		answer(t, router, ping, 1)
		router.Send(wire.CommandUsersStatRsp, ping.Seq, &wire.IMUsersStatRsp{UserId: proto.Uint32(1)})
		router.Send(wire.CommandMsgData, ping.Seq, message().Wire(1))
		router.SendRaw(pdu.PDU{Command: wire.CommandUsersStatRsp, Body: []byte{0xff}}.Append(nil))
		wantPending(t, outcome)
		answer(t, router, ping, 0)
		peer.WantErr(t, "Route", <-outcome)
		answer(t, router, ping, 0) // again, without a ping in flight
		h.wantRoutes(t, router)
	})
}

// TestConfirmedTogether: one answer confirms all messages before its ping, and none after it.
func TestConfirmedTogether(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
		first := h.route(t.Context(), 1)
		var later []<-chan error
		for id := range uint32(50) {
			later = append(later, h.route(t.Context(), 2+id))
		}
		answer(t, router, nextPing(t, router, 1), 0)
		peer.WantErr(t, "first", <-first)
		wantPending(t, later...)
		answer(t, router, nextPing(t, router, 50), 0)
		for _, outcome := range later {
			peer.WantErr(t, "later", <-outcome)
		}
		if n := len(router.Requests); n != 0 {
			t.Errorf("%d more frames", n)
		}
	})
}

// TestLostBeforeConfirmed: a message may be lost if the connection ends before its ping is answered, whether that
// ping was sent or waits for the answer to another one.
func TestLostBeforeConfirmed(t *testing.T) {
	ends := map[string]func(*peer.Conn){
		"closed":   func(router *peer.Conn) { _ = router.Close() },
		"draining": stopReceiving,
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
				first := h.route(t.Context(), 1)
				nextPing(t, router, 1)
				second := h.route(t.Context(), 2)
				end(router)
				wantMaybeSent(t, <-first)
				wantMaybeSent(t, <-second)
			})
		})
	}
}

// TestPingNotSent: a message that was written before the gate closed is in doubt.
func TestPingNotSent(t *testing.T) {
	writes := 0
	gate := func() error {
		if writes++; writes > 1 {
			return errors.New("gate closed")
		}
		return nil
	}
	bubble(t, Options{Gate: gate}, func(t *testing.T, h *harness, router *peer.Conn) {
		wantMaybeSent(t, <-h.route(t.Context(), 1))
	})
}

// TestNoAnswer: a router that does not answer gets no more pings on this connection.
func TestNoAnswer(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
		began := time.Now()
		wantRouted := func(outcome <-chan error) {
			t.Helper()
			if err := <-outcome; err != nil || time.Since(began) != confirmTimeout {
				t.Errorf("Route: %v after %v", err, time.Since(began))
			}
		}
		first, second := h.route(t.Context(), 1), h.route(t.Context(), 2)
		wantRouted(first)
		wantRouted(second)
		wantRouted(h.route(t.Context(), 3))
		answer(t, router, nextPing(t, router, 1), 0) // too late
		router.Next()
		router.Next()
		if n := len(router.Requests); n != 0 {
			t.Errorf("%d more frames", n)
		}
		_ = router.Close()
		h.wantRoutes(t, <-h.Conns)
	})
}

// TestAnswersNoMore: if a router has answered before, its connection is closed, and written messages may be lost.
func TestAnswersNoMore(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
		h.wantRoutes(t, router)
		first, second := h.route(t.Context(), 2), h.route(t.Context(), 3)
		wantMaybeSent(t, <-first)
		wantMaybeSent(t, <-second)
		h.wantRoutes(t, <-h.Conns)
	})
}

// TestConfirmCancelled: a caller that does not wait for the answer does not know.
func TestConfirmCancelled(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		outcome := h.route(ctx, 1)
		nextPing(t, router, 1)
		cancel()
		peer.WantErr(t, "Route", <-outcome, ErrMaybeSent, context.Canceled)
	})
}

// TestPing: an answer shows that the peer is a router.
func TestPing(t *testing.T) {
	type result struct {
		answered bool
		err      error
	}
	ping := func(t *testing.T, h *harness) <-chan result {
		outcome := make(chan result, 1)
		go func() {
			answered, err := h.Ping(t.Context(), 1)
			outcome <- result{answered, err}
		}()
		return outcome
	}
	tests := map[string]struct {
		react        func(t *testing.T, router *peer.Conn)
		wantAnswered bool
		wantErr      error
	}{
		"it answers":        {react: func(t *testing.T, router *peer.Conn) { answer(t, router, router.Next(), 0) }, wantAnswered: true},
		"it is silent":      {react: func(_ *testing.T, router *peer.Conn) { router.Next() }},
		"it hangs up":       {react: func(_ *testing.T, router *peer.Conn) { router.Next(); _ = router.Close() }, wantErr: ErrMaybeSent},
		"it is not there":   {react: func(_ *testing.T, router *peer.Conn) { _ = router.Close() }, wantErr: ErrNotSent},
		"it accepts no one": {react: func(_ *testing.T, router *peer.Conn) { stopReceiving(router) }, wantErr: ErrNotConnected},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *harness, router *peer.Conn) {
				first := errors.Is(tc.wantErr, ErrNotSent) || errors.Is(tc.wantErr, ErrNotConnected)
				if first {
					tc.react(t, router)
					synctest.Wait()
				}
				outcome := ping(t, h)
				if !first {
					tc.react(t, router)
				}
				got := <-outcome
				if got.answered != tc.wantAnswered || !errors.Is(got.err, tc.wantErr) || tc.wantErr == nil && got.err != nil {
					t.Errorf("%v, %v", got.answered, got.err)
				}
			})
		})
	}
}
