// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

// userOf is a user with a nickname of so many bytes.
func userOf(id uint32, nick int) *wire.UserInfo {
	return &wire.UserInfo{
		UserId: &id, UserNickName: proto.String(string(bytes.Repeat([]byte("n"), nick))), UserGender: proto.Uint32(1),
		AvatarUrl: proto.String(""), DepartmentId: proto.Uint32(1), Email: proto.String(""), UserRealName: proto.String(""),
		UserTel: proto.String(""), UserDomain: proto.String(""), Status: proto.Uint32(0),
	}
}

// usersAnswer is an answer about users.
func usersAnswer(t *testing.T, req pdu.PDU, users ...*wire.UserInfo) []byte {
	t.Helper()
	p, err := pdu.New(wire.CommandUsersInfoRsp, req.Seq, &wire.IMUsersInfoRsp{
		UserId: proto.Uint32(1), UserInfoList: users, AttachData: pdu.AttachData(uint32(req.Seq)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p.Append(nil)
}

// TestLongAnswers reads requested rows up to a limit for each request, and not more.
func TestLongAnswers(t *testing.T) {
	const long = pdu.MaxSmall
	tests := map[string]struct {
		asked   []uint32
		users   []*wire.UserInfo
		want    int
		wantErr []error
	}{
		"one":                      {[]uint32{2, 3, 4, 5, 6}, []*wire.UserInfo{userOf(2, long)}, 1, nil},
		"all":                      {[]uint32{2, 3, 4, 5, 6, 7, 8, 9}, []*wire.UserInfo{userOf(2, long), userOf(3, long)}, 2, nil},
		"over the limit":           {[]uint32{2, 3, 4}, []*wire.UserInfo{userOf(2, long)}, 0, []error{ErrTooLong}},
		"more than asked for":      {[]uint32{2}, []*wire.UserInfo{userOf(2, 1), userOf(3, 1)}, 0, []error{ErrMalformed}},
		"more, in a long answer":   {[]uint32{2, 3, 4, 5, 6}, []*wire.UserInfo{userOf(2, long), userOf(3, 1), userOf(4, 1), userOf(5, 1), userOf(6, 1), userOf(7, 1)}, 0, []error{ErrMalformed}},
		"another one than asked":   {[]uint32{2}, []*wire.UserInfo{userOf(9, 1)}, 1, nil},
		"fewer than were asked of": {[]uint32{2, 3}, nil, 0, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
				got := async(func() (int, error) {
					users, err := h.Users(t.Context(), 1, tc.asked)
					return len(users), err
				})
				server.SendRaw(usersAnswer(t, server.Next(), tc.users...))
				want(t, "users", <-got, tc.want, tc.wantErr...)
			})
		})
	}
}

// TestLongSend: of a long answer to a message only the id is read, whatever memory there is.
func TestLongSend(t *testing.T) {
	bubble(t, Options{Memory: NewMemory(1)}, func(t *testing.T, h *harness, server *peer.Conn) {
		audio := message(2)
		audio.Type, audio.Data = wire.MsgType_MSG_TYPE_SINGLE_AUDIO, make([]byte, 300<<10)
		sent := h.sendAsync(t.Context(), audio)
		answerStored(t, server, server.Next(), 7)
		want(t, "send", <-sent, 7)
	})
}

// TestUnwanted: a frame that nobody waits for is skipped, whatever its length and content, and is not held.
func TestUnwanted(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
		read := usersAsync(t, h.Path)
		req := server.Next()
		other := req
		other.Seq += 7
		frames := [][]byte{
			usersAnswer(t, other, userOf(2, 100)),
			usersAnswer(t, other, userOf(2, 1<<20)),
			pdu.PDU{Command: wire.CommandUsersInfoRsp, Seq: other.Seq, Body: bytes.Repeat([]byte{0x12, 0}, 2<<20-16)}.Append(nil),
			pdu.PDU{Command: wire.CommandMsgListRsp, Seq: req.Seq, Body: bytes.Repeat([]byte{0x2a, 0}, 2<<20-16)}.Append(nil),
			pdu.PDU{Command: wire.CommandUsersStatRsp, Body: bytes.Repeat([]byte{0x12, 0}, 2<<20-16)}.Append(nil),
			pdu.PDU{Command: wire.CommandUsersInfoRsp, Seq: req.Seq, Body: bytes.Repeat([]byte{0x0b}, pdu.MaxSmall-16)}.Append(nil),
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 5 {
			for _, b := range frames {
				server.SendRaw(b)
			}
		}
		pending(t, "users", read)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 { // most of it by the pipe, for 85 MiB
			t.Errorf("%d bytes are allocated", n)
		}
		answerUsers(server, req)
		want(t, "users", <-read, 0)
	})
}

// TestUnwantedIsNotRead: without a call in flight, nothing of a frame is read.
func TestUnwantedIsNotRead(t *testing.T) {
	for _, length := range []int{0, 100, pdu.MaxSmall - pdu.HeaderLen, pdu.MaxSmall} {
		b := pdu.PDU{Command: wire.CommandUsersInfoRsp, Body: make([]byte, length)}.Append(nil)
		f, err := pdu.NewReader(bytes.NewReader(b), 0).Next()
		if err != nil {
			t.Fatal(err)
		}
		(&conn{calls: map[uint16]*call{}}).Frame(f)
		if f.Left() != length {
			t.Errorf("%d of %d bytes are read", length-f.Left(), length)
		}
	}
}

// hundredUsers asks for many users in the background, so that a long answer is permitted.
func hundredUsers(t *testing.T, h *harness) <-chan result[int] {
	ids := make([]uint32, 100)
	for i := range ids {
		ids[i] = uint32(i + 2)
	}
	return async(func() (int, error) {
		users, err := h.Users(t.Context(), 1, ids)
		return len(users), err
	})
}

// wantUsed checks how much of a Memory is reserved.
func wantUsed(t *testing.T, m *Memory, least, most int) {
	t.Helper()
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used < least || m.used > most || (m.used == 0) != (len(m.tenants) == 0) {
		t.Errorf("%d bytes are reserved by %v, want %d to %d", m.used, m.tenants, least, most)
	}
}

// TestSlowAnswer: an answer that takes memory must arrive in time. Announced bytes take none. Its connection goes on.
func TestSlowAnswer(t *testing.T) {
	memory := NewMemory(DefaultMemory)
	bubble(t, Options{Memory: memory, Connections: 1}, func(t *testing.T, h *harness, server *peer.Conn) {
		slow := hundredUsers(t, h)
		answer := usersAnswer(t, server.Next(), userOf(2, 300<<10))
		sent := h.sendAsync(t.Context(), message(2))
		asked := server.Next()
		server.SendRaw(answer[:pdu.HeaderLen])
		wantUsed(t, memory, 0, memoryChunk*parsedSize)
		server.SendRaw(answer[pdu.HeaderLen : 200<<10])
		wantUsed(t, memory, 200<<10*parsedSize, (200<<10+memoryChunk)*parsedSize)
		r := <-slow
		want(t, "users", r, 0, ErrNoAnswer)
		if r.took < frameTime || r.took > 2*frameTime {
			t.Errorf("after %s", r.took)
		}
		wantUsed(t, memory, 0, 0)
		server.SendRaw(answer[200<<10:])
		answerStored(t, server, asked, 7)
		want(t, "send", <-sent, 7)
	})
}

// TestMemoryIsShared: a tenant has its share, however many clients it has. Another tenant's answers wait for nothing.
func TestMemoryIsShared(t *testing.T) {
	memory := NewMemory(DefaultMemory)
	synctest.Test(t, func(t *testing.T) {
		var pending []<-chan result[int]
		for range 2 * shares {
			hostile := runOn(t, peer.Listen(t), Options{Memory: memory, Quota: &Quota{Tenant: "hostile"}, Connections: 1})
			pending = append(pending, hundredUsers(t, hostile))
			server := <-hostile.Conns
			answer := usersAnswer(t, server.Next(), userOf(2, 400<<10))
			go func() { _, _ = server.Write(answer[:len(answer)-1]) }()
		}
		wantUsed(t, memory, memory.share-memoryChunk*parsedSize, memory.share)
		victim := runOn(t, peer.Listen(t), Options{Memory: memory, Quota: &Quota{Tenant: "victim"}, Connections: 1})
		got, server := hundredUsers(t, victim), <-victim.Conns
		server.SendRaw(usersAnswer(t, server.Next(), userOf(2, 400<<10)))
		r := <-got
		want(t, "the victim's", r, 1)
		wantAfter(t, "the victim's", r, 0)
		for _, p := range pending {
			if r := <-p; r.err == nil {
				t.Error("an answer without its last byte is accepted")
			}
		}
		wantUsed(t, memory, 0, 0)
	})
}

// TestNoMemory: an answer for which there is no memory is skipped after a while, with an error that says nothing about
// db_proxy. Messages need none.
func TestNoMemory(t *testing.T) {
	memory := NewMemory(DefaultMemory)
	bubble(t, Options{Memory: memory, Connections: 1}, func(t *testing.T, h *harness, server *peer.Conn) {
		for i := range shares {
			if !memory.acquire(t.Context(), string(rune('a'+i)), memory.share, 0) {
				t.Fatal("a share is missing")
			}
		}
		got := hundredUsers(t, h)
		_, _ = server.Write(usersAnswer(t, server.Next(), userOf(2, 300<<10))) // it may be replaced meanwhile
		sent := h.sendAsync(t.Context(), message(2))
		on, req := (&servers{server}).next(t, h)
		answerStored(t, on, req, 7)
		want(t, "send", <-sent, 7)
		r := <-got
		want(t, "without memory", r, 0, ErrNoMemory)
		wantAfter(t, "without memory", r, memoryPatience)
	})
}

// TestMemoryTurns: tenants take turns. One that has its share holds back no other.
func TestMemoryTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(8 * shares)
		order := make(chan string, 10)
		acquire := func(tenant string, n int) {
			go func() {
				if m.acquire(t.Context(), tenant, n, time.Hour) {
					order <- tenant
				}
			}()
			synctest.Wait()
		}
		for i := range shares {
			acquire(string(rune('a'+i)), 8)
			<-order
		}
		for _, tenant := range []string{"a", "a", "new", "new", "b"} {
			acquire(tenant, 4)
		}
		m.release("c", 8)
		synctest.Wait()
		if a, b := <-order, <-order; a+b != "newnew" {
			t.Errorf("%s and %s are granted, and have their share", a, b)
		}
		m.release("a", 8)
		synctest.Wait()
		if a, b := <-order, <-order; a+b != "aa" {
			t.Errorf("%s and %s are granted, want a twice", a, b)
		}
	})
}

// TestMemoryAfterPatience: an answer that waits behind one that times out gets the rest.
func TestMemoryAfterPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(8 * shares)
		acquire := func(n int, patience time.Duration) <-chan result[bool] {
			return async(func() (bool, error) { return m.acquire(t.Context(), "a", n, patience), nil })
		}
		want(t, "some", <-acquire(4, 0), true)
		long, short := acquire(8, time.Second), acquire(4, time.Hour)
		want(t, "more than is left", <-long, false)
		r := <-short
		want(t, "behind it", r, true)
		wantAfter(t, "behind it", r, time.Second)
	})
}

// TestReduced: the rest of a long answer is released with its request.
func TestReduced(t *testing.T) {
	many := make([]uint32, 100_000)
	group := &wire.GroupInfo{
		GroupId: proto.Uint32(2), Version: proto.Uint32(1), GroupName: proto.String("g"), GroupAvatar: proto.String(""),
		GroupCreatorId: proto.Uint32(1), GroupType: wire.GroupType_GROUP_TYPE_NORMAL.Enum(),
		ShieldStatus: proto.Uint32(0), GroupMemberList: many,
	}
	bubble(t, Options{Connections: 1}, func(t *testing.T, h *harness, server *peer.Conn) {
		users := async(func() (int, error) {
			users, err := h.Users(t.Context(), 1, make([]uint32, 100))
			return proto.Size(users[2]), err
		})
		server.SendRaw(usersAnswer(t, server.Next(), userOf(2, 300<<10)))
		want(t, "users", <-users, proto.Size(&wire.UserInfo{UserId: proto.Uint32(2), Status: proto.Uint32(1)}))

		groups := async(func() (int, error) {
			groups, err := h.Groups(t.Context(), 1, []uint32{2}, func(g *wire.GroupInfo) { g.GroupMemberList = []uint32{7} })
			return cap(groups[2].GetGroupMemberList()), err
		})
		req := server.Next()
		server.Send(wire.CommandGroupInfoRsp, req.Seq, &wire.IMGroupInfoListRsp{
			UserId: proto.Uint32(1), GroupInfoList: []*wire.GroupInfo{group}, AttachData: pdu.AttachData(uint32(req.Seq)),
		})
		want(t, "groups", <-groups, 1)
	})
}

// FuzzFieldReader reads any bytes as a long answer. What it keeps is bounded.
func FuzzFieldReader(f *testing.F) {
	body, err := proto.Marshal(answerList(1, singleChat, 3, 5))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add(protowire.AppendBytes([]byte{messageField<<3 | 2}, body))
	f.Add(bytes.Repeat([]byte{0x0b}, 100))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > pdu.MaxSmall {
			return // a long row takes memory of a client
		}
		list := &listScanner{}
		cl := &call{exchange: &exchange{
			scan: messageRows{list}, scanField: messageField, maxRow: maxRow, rows: 5, request: wire.CommandMsgListReq,
		}, handle: 1}
		cl.conn = &conn{calls: map[uint16]*call{1: cl}}
		frame := pdu.PDU{Command: wire.CommandMsgListRsp, Seq: 1, Body: body}
		f, err := pdu.NewReader(bytes.NewReader(frame.Append(nil)), 0).Next()
		if err != nil {
			t.Fatal(err)
		}
		r := fieldReader{Frame: f, call: cl}
		for err == nil && f.Left() > 0 {
			err = r.next()
		}
		if rows := list.rows; len(rows) > cl.rows || len(r.rest) > 2*maxRest {
			t.Fatalf("%d rows, %d other bytes are kept", len(rows), len(r.rest))
		}
		// The same bytes, parsed as a whole, have the same rows.
		whole := &wire.IMGetMsgListRsp{}
		if err == nil && wire.Unmarshal(body, whole, cl.rows) == nil && len(whole.GetMsgList()) != len(list.rows) {
			t.Fatalf("%d rows, want %d", len(list.rows), len(whole.GetMsgList()))
		}
	})
}
