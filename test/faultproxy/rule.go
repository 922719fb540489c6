package faultproxy

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

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
	return body != nil && proto.Unmarshal(f.Body, body) == nil && body.GetSessionType() == wire.SessionType_SESSION_TYPE_GROUP
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
type Armed struct {
	Rule
	proxy *Proxy
	seen  int // under proxy.mu
	fired atomic.Int64
}

// Add puts a rule to work. Of several that take a frame, the first one does.
func (p *Proxy) Add(r Rule) *Armed {
	a := &Armed{Rule: r, proxy: p}
	p.mu.Lock()
	p.rules = append(p.rules, a)
	p.mu.Unlock()
	return a
}

// Fired is how often the rule has fired.
func (a *Armed) Fired() int { return int(a.fired.Load()) }

// Remove ends the rule; frames that it holds stay held.
func (a *Armed) Remove() {
	a.proxy.mu.Lock()
	defer a.proxy.mu.Unlock()
	a.proxy.rules = slices.DeleteFunc(a.proxy.rules, func(other *Armed) bool { return other == a })
}

// Await waits until the rule has fired n times.
func (a *Armed) Await(ctx context.Context, n int) error {
	return poll(ctx, func() string {
		return fmt.Sprintf("%d of %d frames %04x %s have come", a.Fired(), n, a.Commands, a.Direction)
	}, func() bool { return a.Fired() >= n })
}

// rule returns the rule that takes the frame, fired; nil where none does.
func (p *Proxy) rule(f Frame) *Armed {
	a := p.match(f)
	if a != nil && a.OnFire != nil {
		a.OnFire(f)
	}
	return a
}

func (p *Proxy) match(f Frame) *Armed {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.rules {
		if a.takes(f) {
			a.fired.Add(1)
			return a
		}
	}
	return nil
}

func (a *Armed) takes(f Frame) bool {
	switch {
	case a.Direction != f.Direction,
		len(a.Commands) == 0 && f.Command == wire.CommandHeartBeat,
		len(a.Commands) > 0 && !slices.Contains(a.Commands, f.Command),
		a.Match != nil && !a.Match(f),
		a.Count > 0 && a.Fired() >= a.Count:
		return false
	}
	a.seen++
	n := a.seen - a.Skip
	return n > 0 && (a.Every <= 1 || n%a.Every == 0)
}
