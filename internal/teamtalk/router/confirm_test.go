// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// peer reads what a router is sent.
type peer struct {
	t         *testing.T
	conn      net.Conn
	messages  int
	length    int // of the last message
	questions chan pdu.PDU
}

func listen(t *testing.T, conn net.Conn) *peer {
	p := &peer{t: t, conn: conn, questions: make(chan pdu.PDU, 100)}
	reader := pdu.NewReader(conn, 0)
	go func() {
		defer close(p.questions)
		for {
			f, err := reader.Read()
			switch {
			case err != nil:
				return
			case f.Command == wire.CommandMsgData:
				p.messages++
				p.length = f.Len()
			case f.Command == wire.CommandUsersStatReq:
				p.questions <- f
			}
		}
	}()
	return p
}

// answer answers a question, with another handle by so much.
func (p *peer) answer(f pdu.PDU, off byte) {
	p.t.Helper()
	asked := &wire.IMUsersStatReq{}
	if err := proto.Unmarshal(f.Body, asked); err != nil || asked.GetUserId() != 1 || len(asked.GetUserIdList()) != 1 {
		p.t.Errorf("asked %v %v", asked, err)
	}
	attach := asked.GetAttachData()
	attach[7] += off
	p.write(wire.CommandUsersStatRsp, f.Seq, &wire.IMUsersStatRsp{UserId: asked.UserId, AttachData: attach})
}

func (p *peer) write(command wire.Command, seq uint16, m proto.Message) {
	p.t.Helper()
	out, err := pdu.New(command, seq, m)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.conn.Write(out.Append(nil)); err != nil {
		p.t.Error(err)
	}
	synctest.Wait()
}

func undecided(t *testing.T, outcome <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-outcome:
		t.Errorf("Route returned %v before the router had read the message", err)
	default:
	}
}

// TestConfirmed: a message is routed once the router has answered what it was
// asked after it, and nothing else is taken for that answer.
func TestConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, nil)
		p := listen(t, <-h.routers)
		outcome := h.route(t.Context(), recorded(), 1)
		q := <-p.questions
		undecided(t, outcome)
		p.answer(q, 1)
		p.write(wire.CommandUsersStatRsp, q.Seq, &wire.IMUsersStatRsp{UserId: proto.Uint32(1)})
		p.write(wire.CommandMsgData, q.Seq, recorded().Wire(1))
		if _, err := p.conn.Write(pdu.PDU{Command: wire.CommandUsersStatRsp, Body: []byte{0xff}}.Append(nil)); err != nil {
			t.Error(err)
		}
		undecided(t, outcome)
		p.answer(q, 0)
		if err := <-outcome; err != nil || p.messages != 1 {
			t.Errorf("Route: %v, after %d messages", err, p.messages)
		}
		p.answer(q, 0) // once more: nobody waits for it
		h.stop()
	})
}

// TestConfirmedTogether: one answer is enough for all that was sent before it was
// asked for, and no answer counts for what came later.
func TestConfirmedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, nil)
		p := listen(t, <-h.routers)
		first := h.route(t.Context(), recorded(), 1)
		var later []<-chan error
		for id := range uint32(50) {
			later = append(later, h.route(t.Context(), recorded(), 2+id))
		}
		p.answer(<-p.questions, 0)
		if err := <-first; err != nil {
			t.Error(err)
		}
		for _, outcome := range later {
			undecided(t, outcome)
		}
		p.answer(<-p.questions, 0)
		for _, outcome := range later {
			if err := <-outcome; err != nil {
				t.Error(err)
			}
		}
		if len(p.questions) != 0 || p.messages != 51 {
			t.Errorf("%d messages, and %d questions more than needed", p.messages, len(p.questions))
		}
		h.stop()
	})
}

// TestLostBeforeConfirmed: what was written to a connection that ends before the
// router is known to have read it may be lost: those who asked and those who were
// to ask next hear of it.
func TestLostBeforeConfirmed(t *testing.T) {
	stop := pdu.PDU{Service: wire.ServiceOther, Command: wire.CommandStopReceiving}
	ends := map[string]func(*peer){
		"closed":   func(p *peer) { _ = p.conn.Close() },
		"draining": func(p *peer) { _, _ = p.conn.Write(stop.Append(nil)) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := run(t, nil)
				p := listen(t, <-h.routers)
				first := h.route(t.Context(), recorded(), 1)
				<-p.questions
				second := h.route(t.Context(), recorded(), 2)
				end(p)
				for _, outcome := range []<-chan error{first, second} {
					if err := <-outcome; !errors.Is(err, ErrMaybeSent) || errors.Is(err, ErrNotSent) {
						t.Errorf("Route: %v", err)
					}
				}
				h.stop()
			})
		})
	}
}

// TestUnaskable: what has been written before the gate closed is in doubt.
func TestUnaskable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writes := 0
		h := run(t, func() error {
			if writes++; writes > 1 {
				return errors.New("gate closed")
			}
			return nil
		})
		listen(t, <-h.routers)
		if err := <-h.route(t.Context(), recorded(), 1); !errors.Is(err, ErrMaybeSent) {
			t.Errorf("Route: %v", err)
		}
		h.stop()
	})
}

// TestNoAnswer: a router that does not answer is not waited for twice, until there
// is another connection to it.
func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, nil)
		p := listen(t, <-h.routers)
		began := time.Now()
		first := h.route(t.Context(), recorded(), 1)
		second := h.route(t.Context(), recorded(), 2)
		for _, outcome := range []<-chan error{first, second} {
			if err := <-outcome; err != nil || time.Since(began) != confirmTimeout {
				t.Errorf("Route: %v after %v", err, time.Since(began))
			}
		}
		if err := <-h.route(t.Context(), recorded(), 3); err != nil || time.Since(began) != confirmTimeout {
			t.Errorf("Route: %v after %v", err, time.Since(began))
		}
		p.answer(<-p.questions, 0) // too late to matter
		if len(p.questions) != 0 || p.messages != 3 {
			t.Errorf("%d messages, %d more questions", p.messages, len(p.questions))
		}
		_ = p.conn.Close()
		p = listen(t, <-h.routers)
		synctest.Wait()
		outcome := h.route(t.Context(), recorded(), 4)
		p.answer(<-p.questions, 0)
		if err := <-outcome; err != nil {
			t.Error(err)
		}
		h.stop()
	})
}

// TestFallenSilent: a router that has answered before, and does not now, is out of
// reach: what was written to it counts as lost, and there is another connection.
func TestFallenSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, nil)
		p := listen(t, <-h.routers)
		outcome := h.route(t.Context(), recorded(), 1)
		p.answer(<-p.questions, 0)
		if err := <-outcome; err != nil {
			t.Error(err)
		}
		first := h.route(t.Context(), recorded(), 2)
		second := h.route(t.Context(), recorded(), 3)
		for _, outcome := range []<-chan error{first, second} {
			if err := <-outcome; !errors.Is(err, ErrMaybeSent) {
				t.Errorf("Route: %v", err)
			}
		}
		p = listen(t, <-h.routers)
		synctest.Wait() // it is dialled, and then taken up
		outcome = h.route(t.Context(), recorded(), 2)
		p.answer(<-p.questions, 0)
		if err := <-outcome; err != nil {
			t.Error(err)
		}
		h.stop()
	})
}

// TestConfirmGivenUp: who gives up does not know.
func TestConfirmGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, nil)
		p := listen(t, <-h.routers)
		ctx, cancel := context.WithCancel(t.Context())
		outcome := h.route(ctx, recorded(), 1)
		<-p.questions
		cancel()
		if err := <-outcome; !errors.Is(err, ErrMaybeSent) || !errors.Is(err, context.Canceled) {
			t.Errorf("Route: %v", err)
		}
		h.stop()
	})
}
