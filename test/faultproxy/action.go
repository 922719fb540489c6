// SPDX-License-Identifier: Apache-2.0

package faultproxy

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Action is what happens to a frame instead of passing it on.
type Action func(*Conn, Frame)

// Pass passes the frame on, for rules that only count.
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

// Delay passes the frame on after a time, if its connection is still open.
func Delay(after time.Duration) Action {
	return func(c *Conn, f Frame) { time.AfterFunc(after, c.keep(f)) }
}

// Reorder holds an answer until after later answers were passed on over its connection, but at most for a time.
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

// overdue passes on an answer that is still held.
func (c *Conn) overdue(l *late) {
	c.mu[ToClient].Lock()
	defer c.mu[ToClient].Unlock()
	if i := slices.Index(c.held, l); i >= 0 {
		c.held = slices.Delete(c.held, i, i+1)
		c.write(ToClient, l.p)
		c.proxy.busy.Add(-1)
	}
}

// ExecuteLate closes the client's connection and passes the request on after a time, like a db_proxy that executes
// requests of connections that have ended.
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

// settle handles an answer after ExecuteLate.
func (c *Conn) settle(f Frame) {
	if m := f.Message(); m != nil && bytes.Equal(m.GetAttachData(), c.attach) {
		close(c.answered)
		c.attach = nil
	}
}

// Hold keeps frames until Release.
type Hold struct {
	mu   sync.Mutex
	kept []func()
	open bool
}

// Do is the Action that keeps a frame. After Release, it passes frames on.
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

// Keeps is for Rule.Match, so that the rule counts only the frames that are kept.
func (h *Hold) Keeps(Frame) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.open
}

// Release passes the kept frames on, and all later ones.
func (h *Hold) Release() {
	h.mu.Lock()
	kept := h.kept
	h.kept, h.open = nil, true
	h.mu.Unlock()
	for _, pass := range kept {
		pass()
	}
}

// Rewrite changes the body of the frame and passes it on.
func Rewrite[M any, P interface {
	*M
	proto.Message
}](change func(P)) Action {
	return func(c *Conn, f Frame) {
		body := P(new(M))
		if err := proto.Unmarshal(f.Body, body); err != nil {
			c.close()
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

// RefuseWith answers a message with an id, and does not pass it on.
func RefuseWith(id uint32) Action {
	rewrite := AnswerID(id)
	return func(c *Conn, f Frame) { rewrite(c, Frame{Direction: ToClient, PDU: f.PDU}) }
}

// Empty empties the answers to reads, like a TeamTalk without its database or cache.
func Empty(c *Conn, f Frame) {
	actions := map[wire.Command]Action{
		wire.CommandMsgListRsp:     Rewrite(func(m *wire.IMGetMsgListRsp) { m.MsgList = nil }),
		wire.CommandMsgByIDRsp:     Rewrite(func(m *wire.IMGetMsgByIdRsp) { m.MsgList = nil }),
		wire.CommandLatestMsgIDRsp: Rewrite(func(m *wire.IMGetLatestMsgIdRsp) { m.LatestMsgId = proto.Uint32(0) }),
		wire.CommandUsersInfoRsp:   Rewrite(func(m *wire.IMUsersInfoRsp) { m.UserInfoList = nil }),
		wire.CommandGroupInfoRsp:   Rewrite(func(m *wire.IMGroupInfoListRsp) { m.GroupInfoList = nil }),
		wire.CommandUserGroupsRsp:  Rewrite(func(m *wire.IMNormalGroupListRsp) { m.GroupVersionList = nil }),
		wire.CommandRecentSessionsRsp: Rewrite(func(m *wire.IMRecentContactSessionRsp) {
			m.ContactSessionList = nil
		}),
	}
	rewriteOrPass(actions, c, f)
}

// Stale answers reads as a replica that has stopped at a time: without the rows that were created later. Of newest ids
// it shows none.
func Stale(stopped time.Time) Action {
	created := func(r *wire.MsgInfo) bool { return int64(r.GetCreateTime()) > stopped.Unix() }
	updated := func(s *wire.ContactSessionInfo) bool { return int64(s.GetUpdatedTime()) > stopped.Unix() }
	actions := map[wire.Command]Action{
		wire.CommandMsgListRsp: Rewrite(func(m *wire.IMGetMsgListRsp) {
			m.MsgList = slices.DeleteFunc(m.MsgList, created)
		}),
		wire.CommandMsgByIDRsp: Rewrite(func(m *wire.IMGetMsgByIdRsp) {
			m.MsgList = slices.DeleteFunc(m.MsgList, created)
		}),
		wire.CommandLatestMsgIDRsp: Rewrite(func(m *wire.IMGetLatestMsgIdRsp) { m.LatestMsgId = proto.Uint32(0) }),
		wire.CommandRecentSessionsRsp: Rewrite(func(m *wire.IMRecentContactSessionRsp) {
			m.ContactSessionList = slices.DeleteFunc(m.ContactSessionList, updated)
		}),
	}
	return func(c *Conn, f Frame) { rewriteOrPass(actions, c, f) }
}

func rewriteOrPass(actions map[wire.Command]Action, c *Conn, f Frame) {
	if rewrite := actions[f.Command]; rewrite != nil {
		rewrite(c, f)
		return
	}
	c.pass(f)
}
