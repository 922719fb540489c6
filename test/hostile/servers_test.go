// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// deliveries are how many messages of another tenant are delivered while servers are hostile.
const deliveries = 20

// deliverBeside delivers messages of a tenant until each rogue has sent something, and checks that each is stored once.
func deliverBeside(t *testing.T, rogues []*rogue) {
	t.Helper()
	victim := newTenant(t, world.TeamTalk)
	victim.GrantOperator()
	victim.CreateServer()
	n := 0
	quiet := func(r *rogue) bool { return r.written.Load() == 0 }
	for ; n < deliveries || slices.ContainsFunc(rogues, quiet); n++ {
		victim.Deliver(fmt.Sprint("m", n), fmt.Sprint("hello ", n))
	}
	victim.CheckRows(n)
}

// TestServerWithoutKey: a server in a namespace where the operator may read nothing costs no connection.
func TestServerWithoutKey(t *testing.T) {
	operator := startOperator(t)
	var rogues []*rogue
	for range 4 {
		rogues = append(rogues, startRogue(t, flood(bomb(wire.CommandUsersStatRsp, emptyElements))))
	}
	for _, secret := range []bool{false, true} {
		x := newTenant(t, world.TeamTalk)
		if secret {
			x.Create(x.KeySecret(devserver.DevelopmentKey))
		}
		x.Create(x.Server(hostileServer(rogues[0], rogues...)))
		x.AwaitServer("without a key", func(s *v1alpha1.TeamTalkServer) bool { return len(s.Status.Conditions) > 0 })
	}
	deliverBeside(t, nil)
	for _, r := range rogues {
		if n := r.accepted.Load(); n > 0 {
			t.Errorf("the operator has connected %d times", n)
		}
	}
	checkMemory(t, operator)
}

// hostileServer is an edit of a server.
func hostileServer(db *rogue, routers ...*rogue) func(*v1alpha1.TeamTalkServer) {
	return func(s *v1alpha1.TeamTalkServer) {
		s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{v1alpha1.Endpoint(db.address)}
		s.Spec.Router.Endpoints = nil
		for _, r := range routers {
			s.Spec.Router.Endpoints = append(s.Spec.Router.Endpoints, v1alpha1.Endpoint(r.address))
		}
	}
}

// TestHostileRouters: routers send what nobody has asked for, as fast as they can. The operator's memory stays within
// its limit, and it delivers the messages of others.
func TestHostileRouters(t *testing.T) {
	operator := startOperator(t)
	body := []byte{8, 1, 16, 2, 24, 3, 32, 1}
	servers := [][][]byte{{
		bomb(wire.CommandUsersStatRsp, emptyElements), bomb(wire.CommandUsersStatRsp, emptyElements),
		bomb(wire.CommandUsersStatRsp, emptyElements), bomb(wire.CommandUsersStatRsp, emptyElements),
	}, {
		bomb(wire.CommandUsersStatRsp, unknownFields), bomb(wire.CommandMsgReadNotify, nestedGroups),
		pdu.PDU{Command: wire.CommandMsgReadNotify, Body: body}.Append(nil), pdu.PDU{Command: wire.CommandHeartBeat}.Append(nil),
	}}
	var rogues []*rogue
	for _, frames := range servers {
		x := newTenant(t, world.TeamTalk)
		x.GrantOperator()
		var routers []*rogue
		for _, frame := range frames {
			routers = append(routers, startRogue(t, flood(frame)))
		}
		x.CreateServer(hostileServer(&rogue{address: x.TeamTalk.DBProxyAddr()}, routers...))
		rogues = append(rogues, routers...)
	}
	deliverBeside(t, rogues)
	checkMemory(t, operator)
}

// TestHostileDBProxies: db_proxies answer with what expands, and with what does not end.
func TestHostileDBProxies(t *testing.T) {
	operator := startOperator(t)
	of := func(element []byte) func(*rogue, net.Conn) {
		return answer(func(request pdu.PDU) []byte {
			return append(requester(request), bytes.Repeat(element, bombLen/len(element))...)
		})
	}
	serves := []func(*rogue, net.Conn){of(emptyElements), of(emptyElements), of(unknownFields), stall}
	var rogues []*rogue
	for n := range 8 {
		db := startRogue(t, serves[n%len(serves)])
		rogues = append(rogues, db)
		x := newTenant(t, world.TeamTalk)
		x.GrantOperator()
		x.CreateServer(hostileServer(db, &rogue{address: x.TeamTalk.RouterAddr()}))
		x.Declare("m", "hello", func(m *v1alpha1.TeamTalkMessage) {
			for id := range v1alpha1.UserID(200) {
				m.Spec.To.Users = append(m.Spec.To.Users, 1_000_000+id)
			}
		})
	}
	deliverBeside(t, rogues)
	checkMemory(t, operator)
}
