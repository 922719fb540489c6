// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestStopReceiving(t *testing.T) {
	tests := map[string]Fault{
		"when added":   {Kind: StopReceiving, Delay: time.Second},
		"at a request": {Kind: StopReceiving, Delay: time.Second, Command: wire.CommandMsgData, Count: 1},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := serve(t, nil)
			c.settle()
			add(t, s, f)
			if f.Command != 0 {
				equal(t, "fired before the request", 0, s.Faults().Fired(StopReceiving))
				c.text(1, 1, 2, single, "still served")
			}
			equal(t, "announced", wire.CommandStopReceiving, c.next().Command)
			dial(t, s.DBProxyAddr()).settle() // it still accepts and serves
			if !c.ended() {
				t.Error("the connection outlived the stop")
			}
			equal(t, "fired", 1, s.Faults().Fired(StopReceiving))
			dial(t, s.DBProxyAddr()).settle() // and is started again
		})
	}
}

func TestRefuse(t *testing.T) {
	for name, router := range map[string]bool{"db_proxy": false, "router": true} {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil)
			f, address, dial := Fault{Kind: Refuse, Server: InDBProxy}, s.DBProxyAddr(), dial
			if router {
				f.Server, address, dial = InRouter, s.RouterAddr(), dialRouter
			}
			before := dial(t, address)
			before.settle()
			id := add(t, s, f)
			if !before.ended() || !dial(t, address).ended() {
				t.Error("a connection is open under refuse")
			}
			equal(t, "fired", 1, s.Faults().FiredByID(id))

			f.Down = true
			if err := s.Faults().Set(f); err != nil {
				t.Fatal(err)
			}
			if conn, err := net.Dial("tcp", address); err == nil {
				_ = conn.Close()
				t.Error("something listens while the server is down")
			}
			equal(t, "fired", 2, s.Faults().Fired(Refuse))

			s.Faults().Clear()
			up(t, address)
			dial(t, address).settle()
		})
	}
}

// up waits until something listens.
func up(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return
		}
	}
	t.Fatal("nothing listens again")
}

func TestRefuseForAWhile(t *testing.T) {
	s := start(t, nil)
	add(t, s, Fault{Kind: Refuse, Down: true, Delay: 20 * time.Millisecond})
	up(t, s.DBProxyAddr())
	dial(t, s.DBProxyAddr()).settle()
}

func TestRouterFaults(t *testing.T) {
	tests := map[string]struct {
		fault      Fault
		wantSeqs   []uint16 // what another peer receives
		wantRouted int      // relays of the first message
		wantFired  int
	}{
		"none":    {Fault{Kind: RouterDrop, To: 9}, []uint16{1, 2}, 1, 0},
		"drop":    {Fault{Kind: RouterDrop}, []uint16{2}, 0, 1},
		"repeat":  {Fault{Kind: Repeat, Server: InRouter}, []uint16{1, 1, 2}, 2, 1},
		"late":    {Fault{Kind: Late, Server: InRouter, Delay: time.Hour}, []uint16{2}, 1, 1},
		"dropped": {Fault{Kind: Drop, Server: InRouter}, []uint16{2}, 0, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil)
			test.fault.Command, test.fault.Count = wire.CommandMsgData, 1
			db := dial(t, s.DBProxyAddr())
			sender, peer := dialRouter(t, s.RouterAddr()), dialRouter(t, s.RouterAddr())
			peer.settle()
			add(t, s, test.fault)
			for seq := uint16(1); seq <= 2; seq++ {
				db.text(seq, 1, 2, single, "routed")
				sender.send(wire.CommandMsgData, seq, body[wire.IMMsgData](t, db.next()))
			}
			sender.settle()
			equal(t, "relayed", test.wantSeqs, seqs(peer.settle()))
			messages := stored(t, s)
			equal(t, "routed", []int{test.wantRouted, 1}, []int{messages[0].Routed, messages[1].Routed})
			equal(t, "fired", test.wantFired, s.Faults().Fired(test.fault.Kind))
		})
	}
}

func TestProbabilityIsSeeded(t *testing.T) {
	fired := func(seed uint64) []uint16 {
		s := start(t, func(o *Options) { o.FaultSeed = seed })
		add(t, s, Fault{Kind: NoAnswer, Command: wire.CommandMsgData, Probability: 0.5})
		c := dial(t, s.DBProxyAddr())
		for seq := range uint16(40) {
			c.text(seq, 1, 2, single, "perhaps")
		}
		answered := seqs(c.settle())
		equal(t, "fired", 40-len(answered), s.Faults().Fired(NoAnswer))
		return answered
	}
	first := fired(1)
	if len(first) < 8 || len(first) > 32 {
		t.Errorf("half of 40 requests were to be answered, not %d", len(first))
	}
	equal(t, "answered with the same seed", first, fired(1))
}

// TestHungWorker: messages to a group that overlap hang a worker. It has stored its message, and nothing that is dealt
// to it is answered. Without an overlap none hangs.
func TestHungWorker(t *testing.T) {
	t.Parallel()
	const requests, silence = 60, 10
	s, c := serve(t, func(o *Options) { o.Workers, o.HeartbeatInterval = 4, 100*time.Millisecond })
	add(t, s, Fault{Kind: HungWorker, Probability: 1, Count: 1, Delay: 200 * time.Millisecond})
	// answered counts answers until there are only heartbeats.
	answered := func() (n int) {
		for heartbeats := 0; heartbeats < silence; heartbeats++ {
			if c.next().Command != wire.CommandHeartBeat {
				n++
				heartbeats = 0
			}
		}
		return n
	}
	for range 3 {
		c.text(1, 1, 7, groupText, "alone")
		equal(t, "answered without an overlap", 1, answered())
	}
	for range 2 {
		c.text(2, 1, 7, groupText, "overlaps")
	}
	equal(t, "answered with an overlap", 1, answered())
	equal(t, "fired", 1, s.Faults().Fired(HungWorker))
	equal(t, "stored", 5, len(stored(t, s)))
	for range requests {
		c.send(wire.CommandUsersInfoReq, 3, &wire.IMUsersInfoReq{UserId: proto.Uint32(1)})
	}
	if n := answered(); n == 0 || n == requests {
		t.Errorf("%d of %d requests are answered, with 1 of 4 workers hung", n, requests)
	}
	s.Faults().Clear()
	for range requests {
		c.text(4, 1, 2, single, "after a restart")
	}
	equal(t, "answered after a restart", requests, answered())
}
