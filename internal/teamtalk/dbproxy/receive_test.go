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

// TestLongAnswers reads what was asked for, up to a limit for each request, and more of nothing.
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

// TestSlowAnswer: an answer that takes memory of others must arrive in time. Its connection goes on.
func TestSlowAnswer(t *testing.T) {
	memory := NewMemory(1 << 20)
	bubble(t, Options{Memory: memory, Connections: 1}, func(t *testing.T, h *harness, server *peer.Conn) {
		ids := make([]uint32, 100)
		for i := range ids {
			ids[i] = uint32(i + 2)
		}
		slow := async(func() (int, error) {
			users, err := h.Users(t.Context(), 1, ids)
			return len(users), err
		})
		answer := usersAnswer(t, server.Next(), userOf(2, 100<<10))
		sent := h.sendAsync(t.Context(), message(2))
		asked := server.Next()
		server.SendRaw(answer[:50<<10])
		synctest.Wait()
		if memory.bytes.TryAcquire(1 << 20) {
			t.Error("the answer takes no memory")
		}
		r := <-slow
		want(t, "users", r, 0, ErrNoAnswer)
		if r.took < frameTime || r.took > 2*frameTime || !memory.bytes.TryAcquire(1<<20) {
			t.Errorf("after %s, or its memory is still reserved", r.took)
		}
		server.SendRaw(answer[50<<10:])
		answerStored(t, server, asked, 7)
		want(t, "send", <-sent, 7)
	})
}

// TestMemoryIsShared: an answer for which there is no memory is skipped after a while. Messages need none. One client
// cannot take all of it.
func TestMemoryIsShared(t *testing.T) {
	const all = 8 << 20
	memory := NewMemory(all)
	ids := make([]uint32, 100)
	for i := range ids {
		ids[i] = uint32(i + 2)
	}
	users := func(t *testing.T, h *harness) <-chan result[int] {
		return async(func() (int, error) {
			users, err := h.Users(t.Context(), 1, ids)
			return len(users), err
		})
	}
	bubble(t, Options{Memory: memory, Connections: 2}, func(t *testing.T, h *harness, server *peer.Conn) {
		// A slow server holds its share only.
		first, second := users(t, h), users(t, h)
		slow := []*peer.Conn{server, <-h.Conns}
		for _, s := range slow {
			answer := usersAnswer(t, s.Next(), userOf(2, 300<<10))
			// The second is not read at once, and its connection is replaced meanwhile.
			go func() { _, _ = s.Write(answer[:len(answer)-1]) }()
		}
		synctest.Wait()
		other := runOn(t, peer.Listen(t), Options{Memory: memory})
		got := users(t, other)
		peerOf := <-other.Conns
		peerOf.SendRaw(usersAnswer(t, peerOf.Next(), userOf(2, 300<<10)))
		r := <-got
		want(t, "another server's", r, 1)
		wantAfter(t, "another server's", r, 0)
		want(t, "first", <-first, 0, ErrNoAnswer)
		want(t, "second", <-second, 0, ErrNoAnswer)

		// Others hold all.
		if !memory.bytes.TryAcquire(all) {
			t.Fatal("memory was not released")
		}
		begun := time.Now()
		got = users(t, other)
		_, _ = peerOf.Write(usersAnswer(t, peerOf.Next(), userOf(2, 300<<10))) // it may be replaced meanwhile
		sent := other.sendAsync(t.Context(), message(2))
		on, req := (&servers{peerOf}).next(t, other) // the first connection may be replaced by now
		answerStored(t, on, req, 7)
		want(t, "send", <-sent, 7)
		want(t, "without memory", <-got, 0, ErrNoAnswer)
		if d := time.Since(begun); d != memoryPatience {
			t.Errorf("after %s, want %s", d, memoryPatience)
		}
		memory.bytes.Release(all)
		other.stop()
	})
}

// FuzzFieldReader reads any bytes as a long answer. What it keeps is bounded.
func FuzzFieldReader(f *testing.F) {
	body, err := proto.Marshal(answerList(1, singleChat, 3, 5))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add(protowire.AppendBytes([]byte{listField<<3 | 2}, body))
	f.Add(bytes.Repeat([]byte{0x0b}, 100))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > pdu.MaxSmall {
			return // a long row takes memory of a client
		}
		cl := &call{exchange: &exchange{scan: &listScanner{}, rows: 5, request: wire.CommandMsgListReq}, handle: 1}
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
		if rows := cl.scan.(*listScanner).rows; len(rows) > cl.rows || len(r.rest) > 2*maxRest {
			t.Fatalf("%d rows, %d other bytes are kept", len(rows), len(r.rest))
		}
		// The same bytes, parsed as a whole, have the same rows.
		whole := &wire.IMGetMsgListRsp{}
		if err == nil && wire.Unmarshal(body, whole, cl.rows) == nil && len(whole.GetMsgList()) != len(cl.scan.(*listScanner).rows) {
			t.Fatalf("%d rows, want %d", len(cl.scan.(*listScanner).rows), len(whole.GetMsgList()))
		}
	})
}
