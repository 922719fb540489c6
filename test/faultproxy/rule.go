// SPDX-License-Identifier: Apache-2.0

package faultproxy

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Direction is which way a frame goes.
type Direction int

// Directions.
const (
	ToServer Direction = iota
	ToClient
)

func (d Direction) String() string {
	if d == ToServer {
		return "to the server"
	}
	return "to the client"
}

// Frame is a frame on its way.
type Frame struct {
	Direction Direction
	pdu.PDU
}

// Message returns the message in a frame of 0x0301; nil in any other.
func (f Frame) Message() *wire.IMMsgData {
	m := &wire.IMMsgData{}
	if f.Command != wire.CommandMsgData || proto.Unmarshal(f.Body, m) != nil {
		return nil
	}
	return m
}

// Group reports whether the frame is about a group's conversation.
func (f Frame) Group() bool {
	switch f.Command {
	case wire.CommandMsgData:
		return f.Message().GetMsgType().SessionType() == wire.SessionType_SESSION_TYPE_GROUP
	case wire.CommandGroupInfoReq, wire.CommandGroupInfoRsp:
		return true
	}
	empty := map[wire.Command]interface {
		proto.Message
		GetSessionType() wire.SessionType
	}{
		wire.CommandMsgListReq: &wire.IMGetMsgListReq{}, wire.CommandMsgListRsp: &wire.IMGetMsgListRsp{},
		wire.CommandMsgByIDReq: &wire.IMGetMsgByIdReq{}, wire.CommandMsgByIDRsp: &wire.IMGetMsgByIdRsp{},
		wire.CommandLatestMsgIDReq: &wire.IMGetLatestMsgIdReq{}, wire.CommandLatestMsgIDRsp: &wire.IMGetLatestMsgIdRsp{},
	}
	body := empty[f.Command]
	return body != nil && proto.Unmarshal(f.Body, body) == nil &&
		body.GetSessionType() == wire.SessionType_SESSION_TYPE_GROUP
}

// Rule says what happens to which frames.
type Rule struct {
	Direction Direction
	// Commands that it is about; none: every one but heartbeats.
	Commands []wire.Command
	// Match chooses among their frames; nil: all.
	Match func(Frame) bool
	// Skip lets the first frames pass, Every takes only each n-th of the others,
	// Count ends the rule after it has fired that often. 0: none, each, never.
	Skip, Every, Count int
	// OnFire, unless nil, is called before Do.
	OnFire func(Frame)
	// Do is what happens.
	Do Action
}

// Armed is a rule at work.
type Armed = fault.Armed[Frame, Action]

// Add puts a rule to work. Of several that take a frame, the first one does.
func (p *Proxy) Add(r Rule) *Armed {
	do := r.Do
	if r.OnFire != nil {
		do = func(c *Conn, f Frame) {
			r.OnFire(f)
			r.Do(c, f)
		}
	}
	return p.rules.Add(fault.Rule[Frame, Action]{Match: r.matches, Skip: r.Skip, Every: r.Every, Count: r.Count, Do: do})
}

func (r *Rule) matches(f Frame) bool {
	about := f.Command != wire.CommandHeartBeat
	if len(r.Commands) > 0 {
		about = slices.Contains(r.Commands, f.Command)
	}
	return about && r.Direction == f.Direction && (r.Match == nil || r.Match(f))
}
