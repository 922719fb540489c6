// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

func TestPace(t *testing.T) {
	steady := func(n int, took time.Duration) (all []time.Duration) {
		for range n {
			all = append(all, took)
		}
		return all
	}
	tests := map[string]struct {
		took []time.Duration
		// late is between these.
		min, max time.Duration
	}{
		"nothing answered yet": {nil, firstLate, firstLate},
		"fast":                 {steady(50, time.Millisecond), minLate, minLate},
		"steady":               {steady(50, 200*time.Millisecond), 600 * time.Millisecond, 610 * time.Millisecond},
		"slow":                 {steady(50, 4*time.Second), maxLate, maxLate},
		"varying": {append(steady(50, 50*time.Millisecond), 400*time.Millisecond, 50*time.Millisecond),
			time.Second, 2 * time.Second},
		"recovered": {append(steady(50, 4*time.Second), steady(100, 50*time.Millisecond)...),
			minLate, 300 * time.Millisecond},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var p pace
			for _, took := range tc.took {
				p.observe(took)
			}
			if late := p.late(); late < tc.min || late > tc.max {
				t.Errorf("late after %v, want %v to %v", late, tc.min, tc.max)
			}
		})
	}
}

// sendLate sends m, and tells when it is late.
func (h *harness) sendLate(t *testing.T, m Message) (answer <-chan result[uint32], late <-chan time.Time) {
	calls := make(chan time.Time, 10)
	return async(func() (uint32, error) {
		return h.SendLatest(t.Context(), t.Context(), m.Type, Sending{
			Build: func() (Message, bool) { return m, true }, Late: func() { calls <- time.Now() },
		})
	}), calls
}

// TestAnsweredInTime: an ordinary send is not late, however long the wait for its slot, and costs one request.
func TestAnsweredInTime(t *testing.T) {
	bubble(t, Options{Connections: 2, Limits: NewLimits(1, 1)}, func(t *testing.T, h *harness, server *peer.Conn) {
		other := <-h.Conns
		first, firstLate := h.sendLate(t, groupMessage(2))
		second, secondLate := h.sendLate(t, groupMessage(3))
		for _, answer := range []<-chan result[uint32]{first, second} {
			peer.Elapse(900 * time.Millisecond)
			if len(server.Requests) == 0 {
				server, other = other, server
			}
			answerStored(t, server, server.Next(), 5)
			want(t, "send", <-answer, 5)
		}
		if len(firstLate)+len(secondLate)+len(server.Requests)+len(other.Requests) > 0 {
			t.Error("a send was late, or took more than its request")
		}
	})
}

// TestHungThread: a thread of db_proxy hangs, and the others go on. The place of a group message that was dealt to it
// serves others, its connection is replaced, and nothing is quarantined.
func TestHungThread(t *testing.T) {
	bubble(t, Options{Connections: 1, Limits: NewLimits(64, 1)}, func(t *testing.T, h *harness, server *peer.Conn) {
		hung, late := h.sendLate(t, groupMessage(2))
		server.Next()
		began := time.Now()
		waiting := h.sendAsync(t.Context(), groupMessage(3))
		if at := <-late; at.Sub(began) != firstLate {
			t.Errorf("late after %v, want %v", at.Sub(began), firstLate)
		}
		next := <-h.Conns
		synctest.Wait()
		// The first request that overtakes the one that hangs was waiting, or comes later.
		on := server
		if len(server.Requests) == 0 {
			on = next
		}
		peer.Elapse(50 * time.Millisecond)
		answerStored(t, on, on.Next(), 7)
		r := <-waiting
		want(t, "the next one", r, 7)
		wantAfter(t, "the next one", r, firstLate+50*time.Millisecond)
		for range 20 {
			peer.Elapse(10 * time.Millisecond)
			other := h.sendAsync(t.Context(), groupMessage(4))
			answerStored(t, next, next.Next(), 8)
			want(t, "another one", <-other, 8)
		}
		wantSlots(t, h.limiter(), 0, 0)
		r = <-hung
		want(t, "the one that hangs", r, 0, ErrNoAnswer)
		wantAfter(t, "the one that hangs", r, 5*time.Second)
		synctest.Wait()
		wantSlots(t, h.limiter(), 0, 0)
		if _, open := <-server.Requests; open {
			t.Error("the connection of a message that may still be stored is open")
		}
	})
}

// TestReadsOvertakeNoSend: a database that takes no writes answers reads. The answer to a message is awaited as long as
// if nothing had been answered.
func TestReadsOvertakeNoSend(t *testing.T) {
	bubble(t, Options{Connections: 2}, func(t *testing.T, h *harness, server *peer.Conn) {
		all := &servers{server}
		send := h.sendAsync(t.Context(), message(2))
		all.next(t, h)
		for range 3 {
			peer.Elapse(firstLate)
			read := usersAsync(t, h)
			on, asked := all.next(t, h)
			answerUsers(on, asked)
			want(t, "users", <-read, 0)
		}
		synctest.Wait()
		wantSlots(t, h.limiter(), 1, 0)
		r := <-send
		want(t, "send", r, 0, ErrNoAnswer)
		wantAfter(t, "send", r, 10*time.Second)
	})
}

// TestHungServer: a db_proxy that answers nothing about groups gets four requests, and then those of the quarantine. Its
// answers to others do not count.
func TestHungServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Connections: 1, Limits: NewLimits(64, 1)})
		ctx, cancel := context.WithCancel(t.Context())
		for range 20 {
			async(func() (uint32, error) { return h.Send(ctx, ctx, groupMessage(2)) })
		}
		var servers []*peer.Conn
		asked := 0
		for range 29 {
			peer.Elapse(time.Second)
			synctest.Wait()
			for len(h.Conns) > 0 {
				servers = append(servers, <-h.Conns)
			}
			if h.Connected() == 0 {
				continue // it is being dialed
			}
			single := h.sendAsync(t.Context(), message(5))
			synctest.Wait()
			for _, server := range servers {
				for len(server.Requests) > 0 {
					req, open := <-server.Requests
					if !open {
						break
					}
					var m wire.IMMsgData
					if err := proto.Unmarshal(req.Body, &m); err != nil {
						t.Fatal(err)
					}
					if m.GetMsgType() == wire.MsgType_MSG_TYPE_GROUP_TEXT {
						asked++
						continue
					}
					answerStored(t, server, req, 9)
				}
			}
			want(t, "a single chat", <-single, 9)
		}
		if asked != maxProbes {
			t.Errorf("%d requests about groups, want %d", asked, maxProbes)
		}
		cancel()
	})
}

// TestEarlySlots bounds the requests about groups whose slots are given back although they may still be executed.
func TestEarlySlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newShare(64, 8)
		granted := 0
		for range 5 {
			for _, cl := range acquire(t, l, 8, true) {
				granted++
				peer.Elapse(time.Second)
				l.limiter.becomesLate(cl, time.Now())
			}
			peer.Elapse(time.Second)
			answerGroup(l)
		}
		if granted != 8+maxEarly {
			t.Errorf("%d requests, want %d at most at once", granted, 8+maxEarly)
		}
		l.limiter.ends(l.limiter.late.calls[0])
		if n := len(acquire(t, l, 8, true)); n != 1 {
			t.Errorf("%d slots after one of them has ended, want 1", n)
		}
	})
}

// servers are the server's ends of the connections so far.
type servers []*peer.Conn

// next returns the next request on any of them.
func (s *servers) next(t *testing.T, h *harness) (*peer.Conn, pdu.PDU) {
	t.Helper()
	synctest.Wait()
	for len(h.Conns) > 0 {
		*s = append(*s, <-h.Conns)
	}
	for _, server := range *s {
		if len(server.Requests) > 0 {
			return server, server.Next()
		}
	}
	t.Fatal("no request has arrived")
	return nil, pdu.PDU{}
}

// TestHungRead: a read that others overtake gives its slot back and is sent again. Its answer may come later.
func TestHungRead(t *testing.T) {
	bubble(t, Options{Connections: 2}, func(t *testing.T, h *harness, server *peer.Conn) {
		all := &servers{server}
		read := usersAsync(t, h)
		on, hung := all.next(t, h)
		peer.Elapse(firstLate + time.Second)
		pending(t, "read", read)
		send := h.sendAsync(t.Context(), message(3))
		server, sent := all.next(t, h)
		answerStored(t, server, sent, 5)
		want(t, "send", <-send, 5)
		again, repeated := all.next(t, h)
		if repeated.Command != hung.Command {
			t.Fatalf("command %#04x, want the read again", uint16(repeated.Command))
		}
		wantSlots(t, h.limiter(), 1, 0)
		answerUsers(on, hung)
		answerUsers(again, repeated)
		r := <-read
		want(t, "read", r, 0)
		wantAfter(t, "read", r, firstLate+time.Second)
		synctest.Wait()
		wantSlots(t, h.limiter(), 0, 0)
	})
}

// TestHungScan: a list that others overtake is sent again once it would have come even if each row were a sound. The
// rows of the first answer are not mixed with those of the second.
func TestHungScan(t *testing.T) {
	bubble(t, Options{Connections: 2}, func(t *testing.T, h *harness, server *peer.Conn) {
		all := &servers{server}
		got := &counter{t: t}
		scan := async(func() (int, error) { return 0, h.Scan(t.Context(), singleChat, 16, got) })
		on, hung := all.next(t, h)
		peer.Elapse(firstLate)
		send := h.sendAsync(t.Context(), message(3))
		server, sent := all.next(t, h)
		answerStored(t, server, sent, 5)
		want(t, "send", <-send, 5)
		peer.Elapse(16*rowTime - firstLate - time.Millisecond)
		for _, server := range *all {
			if len(server.Requests) > 0 {
				t.Error("it was sent again too early")
			}
		}
		peer.Elapse(time.Millisecond)
		again, repeated := all.next(t, h)
		const long = 2 << 10 // 16 of these are passed on row by row
		on.Send(wire.CommandMsgListRsp, hung.Seq, answerList(uint32(hung.Seq), singleChat, 16, long))
		pending(t, "scan", scan)
		again.Send(wire.CommandMsgListRsp, repeated.Seq, answerList(uint32(repeated.Seq), singleChat, 11, long))
		want(t, "scan", <-scan, 0)
		if got.begun != 1 || got.rows != 11 {
			t.Errorf("%d rows of %d answers, want 11 of the last one", got.rows, got.begun)
		}
	})
}

// TestHungReads: a read is sent three times at most.
func TestHungReads(t *testing.T) {
	bubble(t, Options{Connections: 2}, func(t *testing.T, h *harness, server *peer.Conn) {
		all := &servers{server}
		read := usersAsync(t, h)
		for range maxReads {
			all.next(t, h)
			peer.Elapse(firstLate + time.Second)
			send := h.sendAsync(t.Context(), message(3))
			server, sent := all.next(t, h)
			answerStored(t, server, sent, 5)
			want(t, "send", <-send, 5)
		}
		r := <-read
		want(t, "read", r, 0, ErrNoAnswer)
		for _, server := range *all {
			if len(server.Requests) > 0 {
				t.Error("the read was sent once more")
			}
		}
	})
}

// TestLostRequests: a hung thread gets one request in two. However many are lost, the next one waits for no more than
// the time after which each is late.
func TestLostRequests(t *testing.T) {
	bubble(t, Options{Connections: 1, Limits: NewLimits(64, 1)}, func(t *testing.T, h *harness, server *peer.Conn) {
		all := &servers{server}
		began := time.Now()
		for range maxEarly {
			_, late := h.sendLate(t, groupMessage(2))
			all.next(t, h)
			next := h.sendAsync(t.Context(), groupMessage(3))
			<-late
			server, sent := all.next(t, h)
			answerStored(t, server, sent, 5)
			want(t, "the next one", <-next, 5)
		}
		if took := time.Since(began); took > maxEarly*firstLate {
			t.Errorf("%d requests were lost, and the others took %v", maxEarly, took)
		}
	})
}

// TestHungAndAbandoned: the slot of a request that hangs and whose caller is gone serves others as soon as it is late.
func TestHungAndAbandoned(t *testing.T) {
	bubble(t, Options{Connections: 1, Limits: NewLimits(64, 1)}, func(t *testing.T, h *harness, server *peer.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		hung := async(func() (int, error) {
			rows, err := h.List(ctx, groupChat, 16)
			return len(rows), err
		})
		server.Next()
		peer.Elapse(firstLate / 2)
		cancel()
		want(t, "the one that hangs", <-hung, 0, ErrNoAnswer)
		waiting := h.sendAsync(t.Context(), groupMessage(3))
		peer.Elapse(firstLate / 2)
		answerStored(t, server, server.Next(), 7)
		r := <-waiting
		want(t, "the next one", r, 7)
		wantAfter(t, "the next one", r, firstLate/2)
		peer.Elapse(11 * time.Second)
		wantSlots(t, h.limiter(), 0, 0)
		h.wantState(t, 1, 1)
	})
}

// TestPathOfLateReads: reads that take long keep their connection, so that the next question can be asked there.
func TestPathOfLateReads(t *testing.T) {
	bubble(t, Options{Connections: 1}, func(t *testing.T, h *harness, server *peer.Conn) {
		path, done, err := h.OpenPath()
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			read := usersAsync(t, path)
			req := server.Next()
			peer.Elapse(2 * firstLate)
			answerUsers(server, req)
			want(t, "users", <-read, 0)
		}
		done()
		h.wantState(t, 1, 1)
		if len(h.Conns) > 0 {
			t.Error("the connection of a late read was replaced")
		}
	})
}

// TestPathOfReplacedConnection: a connection that is replaced stays open as long as its paths, and serves only them.
func TestPathOfReplacedConnection(t *testing.T) {
	bubble(t, Options{Connections: 1}, func(t *testing.T, h *harness, server *peer.Conn) {
		path, done, err := h.OpenPath()
		if err != nil {
			t.Fatal(err)
		}
		send, late := h.sendLate(t, message(3))
		req := server.Next()
		<-late
		next := <-h.Conns
		peer.Elapse(time.Second)
		answerStored(t, server, req, 5)
		want(t, "send", <-send, 5)
		for range 2 {
			read := usersAsync(t, path)
			answerUsers(server, server.Next())
			want(t, "of the path", <-read, 0)
			read = usersAsync(t, h)
			answerUsers(next, next.Next())
			want(t, "another one", <-read, 0)
		}
		done()
		if _, open := <-server.Requests; open {
			t.Error("the connection is open after its last path")
		}
		synctest.Wait()
		want(t, "after its end", <-usersAsync(t, path), 0, ErrNotSent, ErrNotConnected)
	})
}
