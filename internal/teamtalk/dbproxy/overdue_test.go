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

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// answerUsers answers a question about users with nobody.
func answerUsers(server *peer, req pdu.PDU) {
	server.send(wire.CommandUsersInfoRsp, req.Seq, &wire.IMUsersInfoRsp{
		UserId: proto.Uint32(1), AttachData: pdu.AttachData(uint32(req.Seq)),
	})
}

// TestUnansweredSendEndsItsConnection: until the connection is gone, db_proxy may
// store the message at any time.
func TestUnansweredSendEndsItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Connections: 1})
		server := <-h.peers
		send := h.sendAsync(t.Context(), message(2))
		server.next()
		r := <-send
		want(t, "send", r, 0, ErrNoAnswer)
		if r.took != 10*time.Second {
			t.Errorf("after %v", r.took)
		}
		if _, open := <-server.requests; open {
			t.Error("the connection is still open")
		}
		next := <-h.peers
		synctest.Wait()
		again := h.sendAsync(t.Context(), message(2))
		next.stored(next.next(), 7)
		want(t, "the next send", <-again, 7)
		h.stop()
	})
}

// TestOverdueSendWaitsForItsNeighbours ends the connection when nothing else is
// under way on it, and takes an answer that comes until then.
func TestOverdueSendWaitsForItsNeighbours(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("late answer: ", late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := run(t, Options{Connections: 1})
				server := <-h.peers
				send := h.sendAsync(t.Context(), message(2))
				sent := server.next()
				elapse(5 * time.Second)
				read := async(func() (int, error) {
					users, err := h.Users(t.Context(), 1, []uint32{2})
					return len(users), err
				})
				asked := server.next()
				elapse(6 * time.Second)
				pending(t, "send", send)
				if n := h.Connected(); n != 0 {
					t.Errorf("%d connections take requests, want none", n)
				}
				if late {
					server.stored(sent, 9)
					want(t, "send", <-send, 9)
					synctest.Wait()
					if n := h.Connected(); n != 1 {
						t.Errorf("%d connections take requests after the answer, want 1", n)
					}
				}
				elapse(time.Second)
				answerUsers(server, asked)
				want(t, "read", <-read, 0)
				if !late {
					r := <-send
					want(t, "send", r, 0, ErrNoAnswer)
					if r.took != 12*time.Second {
						t.Errorf("after %v", r.took)
					}
				}
				h.stop()
			})
		})
	}
}

// TestGroupBoundOfSlowServer: a db_proxy that executes group requests, and answers
// none, for five minutes is never given so many that its database connections run out,
// however often they are tried again; and once it answers, all goes on.
func TestGroupBoundOfSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Connections: 1, Limiter: NewLimiter(64, 8)})
		group := Session{Type: wire.SessionType_SESSION_TYPE_GROUP, UserID: 1, ID: 7}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for ctx.Err() == nil {
					if _, err := h.List(ctx, group, 16); errors.Is(err, ErrNotSent) {
						elapse(100 * time.Millisecond)
					}
				}
			})
		}
		elapse(5 * time.Minute)
		synctest.Wait()
		asked := 0
		var server *peer
		for open := true; open; {
			select {
			case server = <-h.peers:
				asked += len(server.requests)
			default:
				open = false
			}
		}
		// It answers 16 at once.
		if asked > 2*8 || asked < 8 {
			t.Errorf("%d group requests in 5 min, the bound is 8", asked)
		}
		cancel()
		wg.Wait()
		// One slot is given up every minute; a silent server is dialed ever less often.
		for elapse(65 * time.Second); h.Connected() == 0; {
			elapse(time.Second)
		}
		for len(h.peers) > 0 {
			server = <-h.peers
		}
		for len(server.requests) > 0 {
			<-server.requests
		}
		list := async(func() (int, error) {
			rows, err := h.List(t.Context(), group, 16)
			return len(rows), err
		})
		req := server.next()
		server.send(wire.CommandMsgListRsp, req.Seq, &wire.IMGetMsgListRsp{
			UserId: &group.UserID, SessionType: &group.Type, SessionId: &group.ID,
			MsgIdBegin: proto.Uint32(0), AttachData: pdu.AttachData(uint32(req.Seq)),
		})
		want(t, "list", <-list, 0)
		h.stop()
	})
}

// TestPath keeps to one connection, and ends with it.
func TestPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Connections: 2})
		peers := []*peer{<-h.peers, <-h.peers}
		path, err := h.OpenPath()
		if err != nil {
			t.Fatal(err)
		}
		ask := func() <-chan result[int] {
			return async(func() (int, error) {
				users, err := path.Users(t.Context(), 1, []uint32{2})
				return len(users), err
			})
		}
		var server *peer
		for range 4 {
			answer := ask()
			for _, p := range peers {
				select {
				case req := <-p.requests:
					if server != nil && server != p {
						t.Error("another connection was asked")
					}
					server = p
					answerUsers(p, req)
				default:
				}
			}
			want(t, "users", <-answer, 0)
		}
		_ = server.nc.Close()
		synctest.Wait()
		want(t, "users", <-ask(), 0, ErrNotSent)
		h.stop()
	})
}

func TestNoPath(t *testing.T) {
	_, err := New(Options{Address: testAddress}).OpenPath()
	want(t, "path", result[int]{err: err}, 0, ErrNotSent)
}
