// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// counter is a Scanner that wants ids from 1 on.
type counter struct {
	t      *testing.T
	begun  int
	rows   uint32
	strict bool
}

func (c *counter) Begin() { c.begun, c.rows = c.begun+1, 0 }

func (c *counter) Row(r *wire.MsgInfo) {
	if c.rows++; c.strict && r.GetMsgId() != c.rows {
		c.t.Errorf("row %d has the id %d", c.rows, r.GetMsgId())
	}
}

// answerList is an answer with n rows of so many bytes.
func answerList(handle uint32, s Session, n, size int) *wire.IMGetMsgListRsp {
	answer := &wire.IMGetMsgListRsp{
		UserId: &s.UserID, SessionType: &s.Type, SessionId: &s.ID, MsgIdBegin: proto.Uint32(0), AttachData: pdu.AttachData(handle),
	}
	for i := range n {
		answer.MsgList = append(answer.MsgList, &wire.MsgInfo{
			MsgId: proto.Uint32(uint32(i + 1)), FromSessionId: proto.Uint32(1), CreateTime: proto.Uint32(1),
			MsgType: wire.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: bytes.Repeat([]byte{'x'}, size),
		})
	}
	return answer
}

// TestScan gives every row of an answer, whether it is short enough to be held or not,
// and none of another's.
func TestScan(t *testing.T) {
	const many, size = 30_000, 200 // 6 MB
	session := Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: 1, ID: 2}
	long := func(req pdu.PDU, handle uint32, n int) pdu.PDU {
		p, err := pdu.New(wire.CommandMsgListRsp, req.Seq, answerList(handle, session, n, size))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	tests := map[string]struct {
		answers   func(req pdu.PDU) []pdu.PDU
		wantRows  uint32
		wantBegun int
		wantErr   error
	}{
		"none":  {func(req pdu.PDU) []pdu.PDU { return []pdu.PDU{long(req, uint32(req.Seq), 0)} }, 0, 1, nil},
		"short": {func(req pdu.PDU) []pdu.PDU { return []pdu.PDU{long(req, uint32(req.Seq), 10)} }, 10, 1, nil},
		"long":  {func(req pdu.PDU) []pdu.PDU { return []pdu.PDU{long(req, uint32(req.Seq), many)} }, many, 1, nil},
		"another's, then a long one": {func(req pdu.PDU) []pdu.PDU {
			return []pdu.PDU{long(req, 1<<16+uint32(req.Seq), many+5), long(req, uint32(req.Seq), many)}
		}, many, 2, nil},
		"another's, then a short one": {func(req pdu.PDU) []pdu.PDU {
			return []pdu.PDU{long(req, 1<<16+uint32(req.Seq), many), long(req, uint32(req.Seq), 0)}
		}, 0, 2, nil},
		"no rows at all": {func(req pdu.PDU) []pdu.PDU {
			p := long(req, uint32(req.Seq), many)
			p.Body = bytes.Repeat([]byte{0xFF}, len(p.Body))
			return []pdu.PDU{p}
		}, 0, 1, ErrTooLong},
		"cut off": {func(req pdu.PDU) []pdu.PDU {
			p := long(req, uint32(req.Seq), many)
			p.Body = p.Body[:len(p.Body)-20]
			return []pdu.PDU{p}
		}, many, 1, ErrTooLong},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := run(t, Options{Connections: 1})
				server := <-h.peers
				path, err := h.OpenPath()
				if err != nil {
					t.Fatal(err)
				}
				got := &counter{t: t, strict: true}
				scan := async(func() (int, error) { return 0, path.Scan(t.Context(), session, many+10, got) })
				for _, p := range tc.answers(server.next()) {
					server.write(p.Append(nil))
				}
				r := <-scan
				want(t, "scan", r, 0, tc.wantErr)
				if got.rows != tc.wantRows && tc.wantErr == nil || got.begun != tc.wantBegun {
					t.Errorf("%d rows, begun %d times; want %d and %d", got.rows, got.begun, tc.wantRows, tc.wantBegun)
				}
				// The connection goes on.
				read := async(func() (int, error) {
					users, err := path.Users(t.Context(), 1, []uint32{2})
					return len(users), err
				})
				answerUsers(server, server.next())
				want(t, "users", <-read, 0)
				h.stop()
			})
		})
	}
}

// TestScanEndsConnection: an answer that no connection survives is too long for whoever
// has asked for it; what is under way beside it is merely lost.
func TestScanEndsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Connections: 1})
		server := <-h.peers
		path, err := h.OpenPath()
		if err != nil {
			t.Fatal(err)
		}
		session := Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: 1, ID: 2}
		scan := async(func() (int, error) { return 0, path.Scan(t.Context(), session, 65536, &counter{t: t}) })
		asked := server.next()
		send := h.sendAsync(t.Context(), message(2))
		server.next()
		header := pdu.PDU{Command: wire.CommandMsgListRsp, Seq: asked.Seq}.Append(nil)
		binary.BigEndian.PutUint32(header, pdu.MaxSkip+1)
		server.write(header)
		want(t, "scan", <-scan, 0, ErrTooLong)
		want(t, "send", <-send, 0, ErrConnectionLost)
		h.stop()
	})
}

// TestRowsInPieces takes an answer in pieces of any length.
func TestRowsInPieces(t *testing.T) {
	session := Session{Type: wire.SessionType_SESSION_TYPE_GROUP, UserID: 1, ID: 2}
	body, err := proto.Marshal(answerList(77, session, 20, 300))
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []int{1, 2, 7, 299, len(body)} {
		got := &counter{t: t, strict: true}
		r := &rows{scanner: got}
		for left := body; len(left) > 0; left = left[min(length, len(left)):] {
			if n, err := r.Write(left[:min(length, len(left))]); n != min(length, len(left)) || err != nil {
				t.Fatal(n, err)
			}
		}
		answer := &wire.IMGetMsgListRsp{}
		if err := proto.Unmarshal(r.body(), answer); err != nil {
			t.Fatal(err)
		}
		if handle, ok := handleOf(r.body()); !ok || handle != 77 || !session.echoed(answer) || got.rows != 20 || len(answer.GetMsgList()) != 0 {
			t.Errorf("in pieces of %d: %d rows, handle %d", length, got.rows, handle)
		}
	}
}

// TestRowsBounded: what is no answer is not gathered.
func TestRowsBounded(t *testing.T) {
	huge := []byte{listField<<3 | 2, 0xFF, 0xFF, 0xFF, 0x7F} // a row that announces 256 MB
	for name, body := range map[string][]byte{
		"a row without end":   append(huge, make([]byte, 1<<20)...),
		"other fields":        bytes.Repeat([]byte{1 << 3, 1}, 1<<19),
		"what does not parse": bytes.Repeat([]byte{0xFF}, 1<<20),
	} {
		r := &rows{scanner: &counter{t: t}}
		for range 32 {
			if _, err := r.Write(body); err != nil {
				t.Fatal(err)
			}
		}
		if kept := cap(r.field) + cap(r.rest); r.body() != nil || kept > 4*pdu.MaxIn {
			t.Errorf("%s: %d bytes are kept", name, kept)
		}
	}
}

func TestScanNotConnected(t *testing.T) {
	path := &Path{client: New(Options{Address: testAddress})}
	if err := path.Scan(t.Context(), Session{}, 1, &counter{}); !errors.Is(err, ErrNotSent) {
		t.Error(err)
	}
}
