// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testAddress = "db.example:10600"

// peer is the server's end of one connection. It reads at all times, and
// answers nothing by itself.
type peer struct {
	t        *testing.T
	nc       net.Conn
	requests chan pdu.PDU // heartbeats aside
}

func newPeer(t *testing.T, nc net.Conn) *peer {
	p := &peer{t: t, nc: nc, requests: make(chan pdu.PDU, 10000)}
	go func() {
		defer close(p.requests)
		r := pdu.NewReader(nc, 0)
		for {
			req, err := r.Read()
			if err != nil {
				return
			}
			if req.Command != wire.CommandHeartBeat {
				p.requests <- req
			}
		}
	}()
	return p
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Errorf("the server cannot write: %v", err)
	}
}

func (p *peer) send(command wire.Command, seq uint16, body proto.Message) {
	p.t.Helper()
	frame, err := pdu.New(command, seq, body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(frame.Append(nil))
}

// next returns the next request, which must be there or come without time passing.
func (p *peer) next() pdu.PDU {
	p.t.Helper()
	synctest.Wait()
	select {
	case req, ok := <-p.requests:
		if !ok {
			p.t.Fatal("the connection is closed")
		}
		return req
	default:
		p.t.Fatal("no request came")
		return pdu.PDU{}
	}
}

// stored answers a send as db_proxy does, under the id given.
func (p *peer) stored(req pdu.PDU, id uint32) {
	p.t.Helper()
	var m wire.IMMsgData
	if err := proto.Unmarshal(req.Body, &m); err != nil {
		p.t.Fatal(err)
	}
	m.MsgId = &id
	p.send(wire.CommandMsgData, req.Seq, &m)
}

// harness is a running Client and the server's ends of its connections.
type harness struct {
	*Client
	t      *testing.T
	peers  chan *peer
	cancel context.CancelFunc
	ended  chan struct{}
}

// run starts a Client; within a synctest bubble, all is connected on return.
func run(t *testing.T, opts Options) *harness {
	t.Helper()
	h := &harness{t: t, peers: make(chan *peer, 100), ended: make(chan struct{})}
	opts.Address = testAddress
	if opts.Dial == nil {
		opts.Dial = func(_ context.Context, network, address string) (net.Conn, error) {
			if network != "tcp" || address != testAddress {
				t.Errorf("dialed %s %s", network, address)
			}
			ours, theirs := net.Pipe()
			h.peers <- newPeer(t, theirs)
			return ours, nil
		}
	}
	h.Client = New(opts)
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(t.Context())
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
	if n := h.Connected(); n != 0 {
		h.t.Errorf("%d connections after the end", n)
	}
	for {
		select {
		case p := <-h.peers:
			_ = p.nc.Close()
		default:
			return
		}
	}
}

// result is what a request returned.
type result[T any] struct {
	got  T
	err  error
	took time.Duration
}

// async makes a request in the background and lets it get as far as it can.
func async[T any](request func() (T, error)) <-chan result[T] {
	out := make(chan result[T], 1)
	begun := time.Now()
	go func() {
		got, err := request()
		out <- result[T]{got, err, time.Since(begun)}
	}()
	synctest.Wait()
	return out
}

// message is a single-chat text from 1 to the user given.
func message(to uint32) Message {
	return Message{From: 1, To: to, CreateTime: 1700000000, Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT, Data: []byte("data")}
}

func groupMessage(to uint32) Message {
	m := message(to)
	m.Type = wire.MsgType_MSG_TYPE_GROUP_TEXT
	return m
}

// sendAsync sends m in the background.
func (h *harness) sendAsync(ctx context.Context, m Message) <-chan result[uint32] {
	return async(func() (uint32, error) { return h.Send(ctx, ctx, m) })
}

// elapse lets the bubble's clock run: no time passes outside of it.
func elapse(d time.Duration) { <-time.After(d) }
