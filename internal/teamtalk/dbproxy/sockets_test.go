// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"net"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

// serve runs a Client of a server that stores every message under the id of its recipient, over real sockets.
func serve(tb testing.TB, connections int) *Client {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	tb.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { echo(nc) })
		}
	})
	changed := make(chan struct{}, 100)
	c := New(Options{
		Address: listener.Addr().String(), Connections: connections, OnChange: func() { changed <- struct{}{} },
	})
	peer.Start(tb, c.Run)
	for range connections {
		<-changed
	}
	return c
}

// echo answers messages until the connection ends.
func echo(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	r := pdu.NewReader(nc, 0)
	for {
		req, err := r.Read()
		if err != nil {
			return
		}
		var m wire.IMMsgData
		if proto.Unmarshal(req.Body, &m) != nil {
			continue // a heartbeat
		}
		m.MsgId = m.ToSessionId
		rsp, err := pdu.New(wire.CommandMsgData, req.Seq, &m)
		if err == nil {
			_, err = nc.Write(rsp.Append(nil))
		}
		if err != nil {
			return
		}
	}
}

func TestRealSockets(t *testing.T) {
	c := serve(t, 4)
	var wg sync.WaitGroup
	for s := range uint32(100) {
		wg.Go(func() {
			for i := range uint32(50) {
				to := s<<16 | i
				if id, err := c.Send(t.Context(), t.Context(), message(to)); err != nil || id != to {
					t.Errorf("sent to %d: %d, %v", to, id, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkSend(b *testing.B) {
	c := serve(b, 4)
	m := message(2)
	m.Data = make([]byte, 200)
	b.ReportAllocs()
	b.SetParallelism(32) // times GOMAXPROCS: about the limit of the Limiter
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := c.Send(b.Context(), b.Context(), m); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
