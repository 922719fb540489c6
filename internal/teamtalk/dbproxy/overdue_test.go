// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

// TestUnansweredSendEndsItsConnection: db_proxy may store the message until its connection has ended.
func TestUnansweredSendEndsItsConnection(t *testing.T) {
	bubble(t, Options{Connections: 1}, func(t *testing.T, h *harness, server *peer.Conn) {
		send := h.sendAsync(t.Context(), message(2))
		server.Next()
		r := <-send
		want(t, "send", r, 0, ErrNoAnswer)
		wantAfter(t, "send", r, 10*time.Second)
		if _, open := <-server.Requests; open {
			t.Error("the connection is still open")
		}
		next := <-h.Conns
		synctest.Wait()
		again := h.sendAsync(t.Context(), message(2))
		answerStored(t, next, next.Next(), 7)
		want(t, "the next send", <-again, 7)
	})
}

// TestOverdueSendWaitsForItsNeighbours ends the connection when no other request is in flight on it, and accepts
// an answer that arrives before. Another connection has taken its place.
func TestOverdueSendWaitsForItsNeighbours(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("late answer: ", late), func(t *testing.T) {
			bubble(t, Options{Connections: 1}, func(t *testing.T, h *harness, server *peer.Conn) {
				send := h.sendAsync(t.Context(), message(2))
				sent := server.Next()
				read := listAsync(t, h, singleChat)
				asked := server.Next()
				peer.Elapse(9 * time.Second)
				next := <-h.Conns
				// Its answer would overtake the first one.
				other := h.sendAsync(t.Context(), message(3))
				meanwhile := next.Next()
				if late {
					answerStored(t, server, sent, 9)
					want(t, "send", <-send, 9)
				}
				pending(t, "read", read)
				h.wantState(t, 1, 2)
				server.Send(wire.CommandMsgListRsp, asked.Seq, answerList(uint32(asked.Seq), singleChat, 0, 0))
				want(t, "read", <-read, 0)
				if !late {
					r := <-send
					want(t, "send", r, 0, ErrNoAnswer)
					wantAfter(t, "send", r, 10*time.Second)
				}
				answerStored(t, next, meanwhile, 8)
				want(t, "a send meanwhile", <-other, 8)
				synctest.Wait()
				if _, open := <-server.Requests; open {
					t.Error("the connection is still open")
				}
				if n := h.Connected(); n != 1 {
					t.Errorf("%d connections, want the one that has taken its place", n)
				}
			})
		})
	}
}

// TestGroupBoundOfSlowServer: a db_proxy that executes group requests and answers none for five minutes never gets
// so many that its database connections run out, however often the requests are retried. After it answers, all
// continues.
func TestGroupBoundOfSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Connections: 1, Limits: NewLimits(64, 8)})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for ctx.Err() == nil {
					if _, err := h.List(ctx, groupChat, 16); errors.Is(err, ErrNotSent) {
						peer.Elapse(100 * time.Millisecond)
					}
				}
			})
		}
		peer.Elapse(5 * time.Minute)
		synctest.Wait()
		asked := 0
		var server *peer.Conn
		for len(h.Conns) > 0 {
			server = <-h.Conns
			asked += len(server.Requests)
		}
		// db_proxy answers 16 at once.
		if asked > 2*8 || asked < 8 {
			t.Errorf("%d group requests in 5 min, the limit is 8", asked)
		}
		cancel()
		wg.Wait()
		// One slot is released every minute. A silent server is dialed less and less often.
		for peer.Elapse(65 * time.Second); h.Connected() == 0; {
			peer.Elapse(time.Second)
		}
		for len(h.Conns) > 0 {
			server = <-h.Conns
		}
		for len(server.Requests) > 0 {
			<-server.Requests
		}
		list := listAsync(t, h, groupChat)
		req := server.Next()
		server.Send(wire.CommandMsgListRsp, req.Seq, answerList(uint32(req.Seq), groupChat, 0, 0))
		want(t, "list", <-list, 0)
	})
}

// TestPath uses one connection, and ends with it.
func TestPath(t *testing.T) {
	bubble(t, Options{Connections: 2}, func(t *testing.T, h *harness, server *peer.Conn) {
		path, done, err := h.OpenPath()
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		answer := usersAsync(t, path)
		other := <-h.Conns
		if len(server.Requests) == 0 {
			server, other = other, server
		}
		answerUsers(server, server.Next())
		want(t, "users", <-answer, 0)
		for range 3 {
			answer = usersAsync(t, path)
			answerUsers(server, server.Next())
			want(t, "users", <-answer, 0)
		}
		if len(other.Requests) > 0 {
			t.Error("the path used another connection")
		}
		_ = server.Close()
		synctest.Wait()
		want(t, "users", <-usersAsync(t, path), 0, ErrNotSent)
	})
}

func TestNoPath(t *testing.T) {
	_, _, err := New(Options{Address: peer.Address}).OpenPath()
	peer.WantErr(t, "path", err, ErrNotSent)
}
