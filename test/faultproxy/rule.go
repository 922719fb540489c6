// SPDX-License-Identifier: Apache-2.0

package faultproxy

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Direction is the direction of a frame.
type Direction int

// Directions.
const (
	ToServer Direction = iota
	ToClient
)

// Frame is a frame in the proxy.
type Frame struct {
	Direction Direction
	pdu.PDU
}

// Message returns the message in a frame of 0x0301, or nil.
func (f Frame) Message() *wire.IMMsgData {
	m := &wire.IMMsgData{}
	if f.Command != wire.CommandMsgData || proto.Unmarshal(f.Body, m) != nil {
		return nil
	}
	return m
}

// Group reports whether the frame is about a group.
func (f Frame) Group() bool {
	switch f.Command {
	case wire.CommandMsgData:
		return f.Message().GetMsgType().SessionType() == wire.SessionType_SESSION_TYPE_GROUP
	case wire.CommandGroupInfoReq, wire.CommandGroupInfoRsp:
		return true
	}
	// Requests and answers about a session have the same first three fields.
	session := &wire.IMGetLatestMsgIdReq{}
	return f.Command >= wire.CommandMsgListReq && f.Command <= wire.CommandMsgByIDRsp &&
		proto.Unmarshal(f.Body, session) == nil && session.GetSessionType() == wire.SessionType_SESSION_TYPE_GROUP
}

// Rule is a fault and the frames that it concerns.
type Rule struct {
	Direction Direction
	// Commands of the frames. If empty, all commands but heartbeats.
	Commands []wire.Command
	// Match selects frames. If nil, all.
	Match func(Frame) bool
	// Skip, Every and Count are those of a fault.Trigger.
	Skip, Every, Count int
	// OnFire is called before Do. It may be nil.
	OnFire func(Frame)
	Do     Action
}

// Armed is a rule that was added.
type Armed = fault.Armed[Frame, Action]

// Add adds a rule. If several rules match a frame, the first one fires.
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
