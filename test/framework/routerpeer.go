// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// RouterPeer is connected to the tenant's router as a message server is. It keeps the changes of groups that the router
// relays.
type RouterPeer struct {
	net.Conn
	mu      sync.Mutex
	changes []*wire.IMGroupChangeMemberNotify
}

// RouterPeer connects a peer, until the test ends.
func (x *Tenant) RouterPeer() *RouterPeer {
	x.Helper()
	conn, err := net.Dial("tcp", x.TeamTalk.RouterAddr())
	x.Must(err)
	x.Cleanup(func() { _ = conn.Close() })
	p := &RouterPeer{Conn: conn}
	go p.read()
	go p.beat()
	return p
}

func (p *RouterPeer) read() {
	for frames := pdu.NewReader(p, 0); ; {
		f, err := frames.Read()
		if err != nil {
			return
		}
		change := &wire.IMGroupChangeMemberNotify{}
		if f.Command == wire.CommandGroupChangeNotify && proto.Unmarshal(f.Body, change) == nil {
			p.mu.Lock()
			p.changes = append(p.changes, change)
			p.mu.Unlock()
		}
	}
}

// beat sends heartbeats, as message servers do: a router disconnects a peer that is silent for long.
func (p *RouterPeer) beat() {
	heartbeat := pdu.PDU{Service: wire.ServiceOther, Command: wire.CommandHeartBeat}.Append(nil)
	for range time.Tick(5 * time.Second) {
		if _, err := p.Write(heartbeat); err != nil {
			return
		}
	}
}

// Changes returns the changes of a group that the router has relayed, in order.
func (p *RouterPeer) Changes(group int64) (of []*wire.IMGroupChangeMemberNotify) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.changes {
		if int64(c.GetGroupId()) == group {
			of = append(of, c)
		}
	}
	return of
}
