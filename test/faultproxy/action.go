// SPDX-License-Identifier: Apache-2.0

package faultproxy

import (
	"bytes"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Action is what happens to a frame instead of its being passed on.
type Action func(*Conn, Frame)

// Pass passes the frame on: for rules that only count or call.
func Pass(c *Conn, f Frame) { c.pass(f) }

// Drop loses the frame.
func Drop(*Conn, Frame) {}

// Repeat passes the frame on twice.
func Repeat(c *Conn, f Frame) {
	c.pass(f)
	c.pass(f)
}

// Cut loses the frame and closes the connection.
func Cut(c *Conn, _ Frame) { c.close() }

// Delay passes the frame on after a time, if its connection lives that long.
func Delay(after time.Duration) Action {
	return func(c *Conn, f Frame) { time.AfterFunc(after, c.keep(f)) }
}

// Reorder holds an answer until so many later ones have left on its connection,
// or for a time.
func Reorder(after int, most time.Duration) Action {
	return func(c *Conn, f Frame) {
		l := &late{p: f.PDU, after: after}
		c.mu[ToClient].Lock()
		c.held = append(c.held, l)
		c.mu[ToClient].Unlock()
		c.proxy.busy.Add(1)
		time.AfterFunc(most, func() { c.overdue(l) })
	}
}

// overdue passes on what no later answer has let go.
func (c *Conn) overdue(l *late) {
	c.mu[ToClient].Lock()
	defer c.mu[ToClient].Unlock()
	for i, other := range c.held {
		if other == l {
			c.held = append(c.held[:i:i], c.held[i+1:]...)
			c.write(ToClient, l.p)
			c.proxy.busy.Add(-1)
			return
		}
	}
}

// ExecuteLate closes the client's connection, and hands the request to the server
// only after a time: what a db_proxy does that is slow to let go of a connection.
func ExecuteLate(after time.Duration) Action {
	return func(c *Conn, f Frame) {
		c.attach, c.answered = f.Message().GetAttachData(), make(chan struct{})
		c.detached.Store(true)
		_ = c.client.Close()
		c.proxy.busy.Add(1)
		c.proxy.wg.Go(func() {
			defer c.proxy.busy.Add(-1)
			defer c.close()
			time.Sleep(after) // the fault itself
			c.pass(f)
			select {
			case <-c.answered:
			case <-time.After(answerTimeout):
			}
		})
	}
}

// settle notes the answer to a request that was executed late.
func (c *Conn) settle(f Frame) {
	if m := f.Message(); m != nil && bytes.Equal(m.GetAttachData(), c.attach) {
		close(c.answered)
		c.attach = nil
	}
}

// Hold keeps frames until it is told what to do with them.
type Hold struct {
	mu   sync.Mutex
	kept []func()
	open bool
}

// Do is the Action that keeps a frame. After Release frames pass.
func (h *Hold) Do(c *Conn, f Frame) {
	h.mu.Lock()
	open := h.open
	if !open {
		h.kept = append(h.kept, c.keep(f))
	}
	h.mu.Unlock()
	if open {
		c.pass(f)
	}
}

// Keeps is for a rule's Match: it lets the rule count only what is really held.
func (h *Hold) Keeps(Frame) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.open
}

// Release passes on what is kept, and all that comes later.
func (h *Hold) Release() {
	h.mu.Lock()
	kept := h.kept
	h.kept, h.open = nil, true
	h.mu.Unlock()
	for _, pass := range kept {
		pass()
	}
}

// Rewrite passes on what change makes of the body, which is of the frame's kind.
func Rewrite[M any, P interface {
	*M
	proto.Message
}](change func(P)) Action {
	return func(c *Conn, f Frame) {
		body := P(new(M))
		if err := proto.Unmarshal(f.Body, body); err != nil {
			c.close() // no frame of TeamTalk's
			return
		}
		change(body)
		p, err := pdu.New(f.Command, f.Seq, body)
		if err != nil {
			c.close()
			return
		}
		c.pass(Frame{Direction: f.Direction, PDU: p})
	}
}

// AnswerID answers messages with another id.
func AnswerID(id uint32) Action {
	return Rewrite(func(m *wire.IMMsgData) { m.MsgId = &id })
}

// RefuseWith answers a message with an id, and does not hand it to the server.
func RefuseWith(id uint32) Action {
	rewrite := AnswerID(id)
	return func(c *Conn, f Frame) { rewrite(c, Frame{Direction: ToClient, PDU: f.PDU}) }
}

// Empty answers reads as if there were nothing: what a TeamTalk does whose
// database or cache is down.
func Empty(c *Conn, f Frame) {
	actions := map[wire.Command]Action{
		wire.CommandMsgListRsp:     Rewrite(func(m *wire.IMGetMsgListRsp) { m.MsgList = nil }),
		wire.CommandMsgByIDRsp:     Rewrite(func(m *wire.IMGetMsgByIdRsp) { m.MsgList = nil }),
		wire.CommandLatestMsgIDRsp: Rewrite(func(m *wire.IMGetLatestMsgIdRsp) { m.LatestMsgId = proto.Uint32(0) }),
		wire.CommandUsersInfoRsp:   Rewrite(func(m *wire.IMUsersInfoRsp) { m.UserInfoList = nil }),
		wire.CommandGroupInfoRsp:   Rewrite(func(m *wire.IMGroupInfoListRsp) { m.GroupInfoList = nil }),
	}
	if empty := actions[f.Command]; empty != nil {
		empty(c, f)
		return
	}
	c.pass(f)
}
