// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"bytes"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// router behaves as route_server does: it relays messages without reading them.
type router struct {
	*endpoint
	store *store.Store

	mu     sync.Mutex
	online map[uint32]bool
}

func (r *router) setOnline(ids []uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.online = map[uint32]bool{}
	for _, id := range ids {
		r.online[id] = true
	}
}

func (r *router) handleFrame(p *peer, f frame) {
	switch f.Command {
	case wire.CommandMsgData, wire.CommandMsgReadNotify, wire.CommandGroupChangeNotify:
		r.relay(p, f)
	case wire.CommandUsersStatReq:
		r.usersState(p, f)
	}
}

// tellRead relays the read notify that a message server would send.
func (r *router) tellRead(notify *wire.IMMsgDataReadNotify) {
	p, err := pdu.New(wire.CommandMsgReadNotify, 0, notify)
	if err != nil {
		r.log.Error(err, "Cannot tell what was read")
		return
	}
	r.relay(nil, frame{PDU: p, raw: p.Append(nil)})
}

// relay passes the bytes to every peer except the sender. If the sender is nil, it passes them to every peer.
func (r *router) relay(from *peer, f frame) {
	about := fault.Request{Server: fault.Router, Command: f.Command}
	message, err := parse[wire.IMMsgData](f.Body)
	if f.Command != wire.CommandMsgData || err != nil {
		message = nil
	} else {
		about.From, about.To = message.GetFromUserId(), []uint32{message.GetToSessionId()}
		about.Session = message.GetMsgType().SessionType()
	}
	effect, _ := r.faults.First(about, fault.RouterDrop, fault.Drop, fault.NoAnswer, fault.CloseBeforeStore,
		fault.CloseAfterStore)
	switch effect.Kind {
	case fault.RouterDrop, fault.Drop, fault.NoAnswer:
		return
	case fault.CloseBeforeStore:
		r.closePeers()
		return
	}
	raw := bytes.Clone(f.raw)
	times := 1
	delivery, _ := r.faults.First(about, fault.Late, fault.Repeat)
	if delivery.Kind == fault.Repeat {
		times = 2
	}
	for range times {
		if message != nil {
			// Before the peers receive it, so that a peer that then reads the store sees it.
			r.store.Routed(store.SessionOf(about.Session, about.From, message.GetToSessionId()), message.GetMsgId())
		}
		for _, p := range r.everyone() {
			switch {
			case p == from:
			case delivery.Kind == fault.Late:
				p.sendAfter(delivery.Delay, raw)
			default:
				p.send(raw)
			}
		}
	}
	if effect.Kind == fault.CloseAfterStore {
		r.closePeers()
	}
}

// usersState answers only the requesting peer.
func (r *router) usersState(p *peer, f frame) {
	request, err := parse[wire.IMUsersStatReq](f.Body)
	if err != nil {
		return
	}
	about := fault.Request{Server: fault.Router, Command: f.Command, From: request.GetUserId(),
		To: request.GetUserIdList()}
	effect, _ := r.faults.First(about, fault.Drop, fault.NoAnswer, fault.CloseBeforeStore, fault.CloseAfterStore)
	switch effect.Kind {
	case fault.Drop, fault.NoAnswer:
		return
	case fault.CloseBeforeStore, fault.CloseAfterStore:
		r.closePeers()
		return
	}
	answer := &wire.IMUsersStatRsp{UserId: request.UserId, AttachData: request.AttachData}
	r.mu.Lock()
	for _, id := range request.GetUserIdList() {
		state := wire.UserStatType_USER_STATUS_OFFLINE
		if r.online[id] {
			state = wire.UserStatType_USER_STATUS_ONLINE
		}
		answer.UserStatList = append(answer.UserStatList, &wire.UserStat{UserId: proto.Uint32(id), Status: state.Enum()})
	}
	r.mu.Unlock()
	out, err := pdu.New(wire.CommandUsersStatRsp, f.Seq, answer)
	if err != nil {
		r.log.Error(err, "Cannot answer")
		return
	}
	b := out.Append(nil)
	delivery, _ := r.faults.First(about, fault.Late, fault.Repeat)
	switch delivery.Kind {
	case fault.Late:
		p.sendAfter(delivery.Delay, b)
	case fault.Repeat:
		p.send(slices.Concat(b, b))
	default:
		p.send(b)
	}
}
